"""CoinGecko's paths through the service: what makes no difference there costs no call here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import InvalidInput
from coincast_gateway.coingecko_compat import routes as of_the_gateway
from coincast_market_data.identifiers import MAX_CURRENCIES
from coincast_market_data.passthrough.routes import find_route
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import pro_sandbox, running_market, settings_for
from tests.contract.market_mock import MockUpstream, market_over

PRICE = {"ids": "bitcoin", "vs_currencies": "usd"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


@pytest.fixture
async def market(sandbox: RunningSandbox, tmp_path: Path) -> AsyncIterator[Any]:
    async with running_market(settings_for(sandbox, tmp_path)) as stub:
        yield stub


async def document(market: Any, path: str, query: dict[str, str]) -> Any:
    reply = await market.GetDocument(pb.GetDocumentRequest(path=path, query=query), timeout=10)
    return orjson.loads(reply.json)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("simple/price", PRICE),
        ("simple/price", PRICE | {"names": "Bitcoin"}),
        ("coins/bitcoin", {}),
        ("coins/markets", {"vs_currency": "usd"}),
        ("coins/bitcoin/market_chart", {"vs_currency": "usd", "days": "2"}),
        ("coins/bitcoin/ohlc", {"vs_currency": "usd", "days": "7"}),
        ("search", {"query": "bit"}),
        ("coins/list", {}),
    ],
)
async def test_a_parameter_that_the_path_has_not_costs_no_call(
    market: Any, sandbox: RunningSandbox, path: str, query: dict[str, str]
) -> None:
    plain = await document(market, path, query)
    sandbox.forget_calls()
    for number in range(10):
        assert await document(market, path, {"_": str(number), **query, "Cache-Buster": "1"}) == plain
    assert sandbox.calls()["total"] == 0


async def test_lists_in_another_order_are_the_same_question(market: Any, sandbox: RunningSandbox) -> None:
    query = {"vs_currency": "usd", "ids": "bitcoin,ethereum", "price_change_percentage": "24h,7d"}
    await document(market, "coins/markets", query)
    sandbox.forget_calls()
    other = {"price_change_percentage": "7d,24h", "ids": "Ethereum,bitcoin,bitcoin", "vs_currency": "USD"}
    await document(market, "coins/markets", other)
    assert sandbox.calls()["total"] == 0


def test_gateway_and_service_know_the_same_parameters() -> None:
    for mirrored in of_the_gateway.COMPAT_ROUTES:
        route, _ = find_route(re.sub(r"\{[a-z]+\}", "bitcoin", mirrored.template))
        assert mirrored.known == route.known, mirrored.template


@pytest.mark.parametrize("codes", ["usd, xyz", "xyz", "XYZ, usd, , eur", "x!z,usd", "xyz, zzz"])
@pytest.mark.parametrize("ids", ["bitcoin", "bitcoin,no-such-coin", "no-such-coin"])
async def test_currencies_that_do_not_exist_are_left_out_as_coingecko_does(
    market: Any, sandbox: RunningSandbox, ids: str, codes: str
) -> None:
    query = {"ids": ids, "vs_currencies": codes}
    async with httpx2.AsyncClient() as http:
        there = await http.get(
            f"{sandbox.base_url}/simple/price", params=query, headers={"x-cg-pro-api-key": "test"}
        )
    here = await document(market, "simple/price", query)
    assert there.status_code == 200
    shape = {coin: set(row) for coin, row in there.json().items()}
    assert {coin: set(row) for coin, row in here.items()} == shape


async def test_every_currency_there_is_comes_in_one_question(tmp_path: Path) -> None:
    mock = MockUpstream()
    async with market_over(mock, tmp_path) as market:
        found = await document(
            market, "simple/price", {"ids": "bitcoin,ethereum", "vs_currencies": ",".join(mock.codes)}
        )
    assert len(mock.codes) > 2 * MAX_CURRENCIES
    assert {coin: set(row) for coin, row in found.items()} == {coin: set(mock.codes) for coin in mock.coins}
    assert mock.calls["simple/price"] == 1


async def test_the_services_own_prices_still_name_a_wrong_currency(market: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        await market.GetPrices(pb.GetPricesRequest(ids=["bitcoin"], vs_currencies=["usd", "xyz"]), timeout=10)
    assert caught.value.field == "vs_currencies"
