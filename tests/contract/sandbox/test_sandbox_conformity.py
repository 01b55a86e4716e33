"""Details in which the sandbox must not differ from CoinGecko, since tests rely on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from coincast_sandbox.app import SandboxOptions
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.replies.numbers import spot
from coincast_sandbox.simulation.currencies import CURRENCIES
from coincast_sandbox.testing import RunningSandbox, running_sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxOptions(plan=ApiPlan("keyless", reach_days=0))) as running:
        yield running


@pytest.fixture(scope="module")
def paid() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxOptions(plan=ApiPlan("pro"))) as running:
        yield running


def get(sandbox: RunningSandbox, path: str, **headers: str) -> Any:
    reply = httpx2.get(sandbox.base_url + path, headers=headers, trust_env=False, timeout=30)
    assert reply.status_code == 200, reply.text[:200]
    return reply.json()


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        (113522.4, "usd", 113522),
        (10000.4, "eur", 10000),
        (9999.994, "usd", 9999.99),
        (3314.4149, "usd", 3314.41),
        (1.1149, "usd", 1.11),
        (1.0014, "usd", 1.001),
        (0.99980449, "usd", 0.999804),
        (0.1142034, "eur", 0.114203),
        (0.015068684, "eur", 0.01506868),
        (0.000454724, "eur", 0.00045472),
        (3.12345678912e-7, "usd", 3.1234568e-7),
        (1.9e-12, "usd", 1.9e-12),
        (0.0, "usd", 0.0),
        (40.3449184, "eth", 40.344918),
        (0.039504364, "btc", 0.03950436),
    ],
)
def test_spot_prices_are_rounded_by_size(value: float, currency: str, expected: float) -> None:
    assert spot(value, currency) == expected
    assert spot(expected, currency) == expected, "rounding twice changes nothing"
    assert isinstance(spot(113522.4, "usd"), int), "no decimals: no .0"


def test_the_market_table_has_six_decimals_down_to_a_cent() -> None:
    assert spot(0.0123456789, "usd", table=True) == 0.012346
    assert spot(0.00123456789, "usd", table=True) == 0.00123457


@pytest.mark.parametrize(
    ("subject", "keys"),
    [("ids=bitcoin", {"bitcoin"}), ("symbols=btc,eth", {"btc", "eth"}), ("names=Bitcoin", {"Bitcoin"})],
)
def test_replies_are_keyed_by_what_was_requested(
    sandbox: RunningSandbox, subject: str, keys: set[str]
) -> None:
    assert set(get(sandbox, f"/simple/price?{subject}&vs_currencies=usd")) == keys


def test_category_and_status_filter(sandbox: RunningSandbox) -> None:
    rows = get(sandbox, "/coins/markets?vs_currency=usd&category=stablecoins")
    assert {row["id"] for row in rows} == {"tether", "usd-coin"}
    inactive = {coin["id"] for coin in get(sandbox, "/coins/list?status=inactive")}
    assert inactive
    assert not inactive & {coin["id"] for coin in get(sandbox, "/coins/list")}


def test_every_documented_currency_is_quoted(sandbox: RunningSandbox) -> None:
    codes = get(sandbox, "/simple/supported_vs_currencies")
    assert len(codes) == 63
    assert list(CURRENCIES) == codes
    prices = get(sandbox, f"/simple/price?ids=solana&vs_currencies={','.join(codes)}&precision=full")[
        "solana"
    ]
    assert set(prices) == set(codes)
    assert all(price > 0 for price in prices.values())


@pytest.mark.parametrize(
    ("days", "interval", "width"), [("30", "daily", 86400), ("7", "hourly", 3600), ("max", "", 345600)]
)
def test_ohlc_takes_an_interval_and_max(paid: RunningSandbox, days: str, interval: str, width: int) -> None:
    path = f"/coins/bitcoin/ohlc?vs_currency=usd&days={days}" + (f"&interval={interval}" if interval else "")
    rows = get(paid, path, **{"x-cg-pro-api-key": "any"})
    assert {b[0] - a[0] for a, b in pairwise(rows)} == {width * 1000}
    assert len(rows) >= (600 if days == "max" else int(days) * 86400 / width - 1)


def test_flags_leave_out_parts_of_a_coin(sandbox: RunningSandbox) -> None:
    parts = ("localization", "tickers", "market_data", "community_data", "developer_data")
    assert set(parts) <= set(get(sandbox, "/coins/bitcoin"))
    bare = get(sandbox, "/coins/bitcoin?" + "&".join(f"{part}=false" for part in parts))
    assert not set(parts) & set(bare)


def test_the_newest_point_is_stamped_in_whole_seconds(sandbox: RunningSandbox) -> None:
    stamps = [p[0] for p in get(sandbox, "/coins/bitcoin/market_chart?vs_currency=usd&days=1")["prices"]]
    assert stamps[-1] % 1000 == 0
    assert len(set(stamps)) == len(stamps)


def test_pages_carry_their_length_and_any_origin_may_read(sandbox: RunningSandbox) -> None:
    reply = httpx2.get(sandbox.base_url + "/coins/markets?vs_currency=usd&per_page=7", trust_env=False)
    assert (reply.headers["per-page"], reply.headers["total"]) == ("7", "300")
    assert reply.headers["access-control-allow-origin"] == "*"
    preflight = httpx2.options(sandbox.base_url + "/ping", trust_env=False)
    assert preflight.status_code == 200
    assert "total" in preflight.headers["access-control-expose-headers"]
