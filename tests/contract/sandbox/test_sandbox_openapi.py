"""Every reply of the sandbox satisfies CoinGecko's own description of its operation."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from coincast_sandbox.app import SandboxOptions
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.simulation.reference import contracts
from coincast_sandbox.testing import RunningSandbox, running_sandbox
from tests.contract.coingecko_schemas import needs_openapi, schema_errors

pytestmark = needs_openapi
TOKEN = "tether"
ADDRESS = contracts(TOKEN)["ethereum"]
KEY = {"x-cg-pro-api-key": "any"}
FLAGS = "include_market_cap=true&include_24hr_vol=true&include_24hr_change=true&include_last_updated_at=true"
SPANS = "price_change_percentage=1h,24h,7d,14d,30d,200d,1y"
TOKENS = f"contract_addresses={ADDRESS}&vs_currencies=usd"
CHART = "vs_currency=usd&days=7"
RANGE = "vs_currency=usd&from=1735689600&to=1740787200"
CASES = [
    ("/ping", "/ping"),
    ("/simple/price", f"/simple/price?ids=bitcoin,ethereum&vs_currencies=usd&{FLAGS}"),
    ("/simple/token_price/{id}", f"/simple/token_price/ethereum?{TOKENS}&{FLAGS}"),
    ("/simple/supported_vs_currencies", "/simple/supported_vs_currencies"),
    ("/coins/list", "/coins/list?include_platform=true"),
    ("/coins/list", "/coins/list?status=inactive"),
    ("/coins/markets", f"/coins/markets?vs_currency=usd&sparkline=true&{SPANS}"),
    ("/coins/markets", "/coins/markets?vs_currency=btc&category=stablecoins&include_rehypothecated=true"),
    ("/coins/{id}", "/coins/bitcoin?sparkline=true&include_categories_details=true"),
    ("/coins/{id}", f"/coins/{TOKEN}"),
    ("/coins/{id}/tickers", "/coins/bitcoin/tickers?depth=true&include_exchange_logo=true"),
    ("/coins/{id}/history", "/coins/bitcoin/history?date=30-12-2025"),
    ("/coins/{id}/market_chart", f"/coins/bitcoin/market_chart?{CHART}"),
    ("/coins/{id}/market_chart/range", f"/coins/bitcoin/market_chart/range?{RANGE}"),
    ("/coins/{id}/ohlc", "/coins/bitcoin/ohlc?vs_currency=usd&days=30&interval=daily"),
    ("/coins/{id}/ohlc", "/coins/bitcoin/ohlc?vs_currency=usd&days=max"),
    ("/coins/{id}/contract/{contract_address}", f"/coins/ethereum/contract/{ADDRESS}"),
    (
        "/coins/{id}/contract/{contract_address}/market_chart",
        f"/coins/ethereum/contract/{ADDRESS}/market_chart?{CHART}",
    ),
    (
        "/coins/{id}/contract/{contract_address}/market_chart/range",
        f"/coins/ethereum/contract/{ADDRESS}/market_chart/range?{RANGE}",
    ),
    ("/asset_platforms", "/asset_platforms"),
    ("/coins/categories", "/coins/categories"),
    ("/coins/categories/list", "/coins/categories/list"),
    ("/exchanges", "/exchanges"),
    ("/exchanges/list", "/exchanges/list"),
    ("/exchange_rates", "/exchange_rates"),
    ("/search", "/search?query=bit"),
    ("/search/trending", "/search/trending"),
    ("/global", "/global"),
    ("/global/decentralized_finance_defi", "/global/decentralized_finance_defi"),
    ("/key", "/key"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxOptions(plan=ApiPlan("analyst"))) as running:
        yield running


@pytest.mark.parametrize(("template", "path"), CASES)
def test_the_reply_satisfies_the_description(sandbox: RunningSandbox, template: str, path: str) -> None:
    reply = httpx2.get(sandbox.base_url + path, headers=KEY, trust_env=False, timeout=30)
    assert reply.status_code == 200, reply.text[:300]
    document = reply.json()
    assert document, "an empty reply would satisfy nearly any description"
    assert schema_errors(document, template, "pro")[:5] == []
