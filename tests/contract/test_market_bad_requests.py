"""Requests of hostile size or form to market-data: refused in words, quickly, without an upstream call."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, InvalidInput
from tests.contract.market_mock import MockUpstream, market_over, noon_clock

MANY = [f"coin-{number}" for number in range(20_000)]


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Any]:
    mock = MockUpstream(noon_clock())
    async with market_over(mock, tmp_path) as found:
        found.mock = mock
        yield found


AGED: dict[str, Callable[..., Any]] = {
    "GetPrices": lambda **age: pb.GetPricesRequest(ids=["bitcoin"], **age),
    "GetMarkets": lambda **age: pb.GetMarketsRequest(ids=["bitcoin"], **age),
    "GetHistory": lambda **age: pb.GetHistoryRequest(id="bitcoin", days=5, **age),
    "GetOhlc": lambda **age: pb.GetOhlcRequest(id="bitcoin", days=7, **age),
    "GetDocument": lambda **age: pb.GetDocumentRequest(path="coins/bitcoin", **age),
    "ListCoins": pb.ListCoinsRequest,
}
UNARY = {
    "prices ids": ("GetPrices", pb.GetPricesRequest(ids=MANY), "ids"),
    "prices repeated": ("GetPrices", pb.GetPricesRequest(ids=["bitcoin"] * 20_000), "ids"),
    "prices currencies": (
        "GetPrices",
        pb.GetPricesRequest(ids=["bitcoin"], vs_currencies=["usd"] * 20_000),
        "vs_currencies",
    ),
    "markets ids": ("GetMarkets", pb.GetMarketsRequest(ids=MANY), "ids"),
    **{
        f"{name} age {age}": (name, request(max_age_seconds=age), "max_age_seconds")
        for age in (math.nan, math.inf, -1.0)
        for name, request in AGED.items()
    },
}


@pytest.mark.parametrize(("method", "request_", "field"), UNARY.values(), ids=UNARY)
async def test_a_bad_request_names_its_field(stub: Any, method: str, request_: Any, field: str) -> None:
    before = stub.mock.calls.total()
    with pytest.raises(InvalidInput) as refused:
        await getattr(stub, method)(request_, timeout=10)
    assert refused.value.field == field
    assert stub.mock.calls.total() == before


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("StreamHistory", pb.StreamHistoryRequest(ids=MANY, days=5)),
        ("Backfill", pb.BackfillRequest(ids=MANY, days=5)),
        ("Repair", pb.RepairRequest(ids=MANY)),
        ("WatchPrices", pb.WatchPricesRequest(ids=MANY)),
        ("WatchPrices", pb.WatchPricesRequest(ids=["bitcoin"], vs_currencies=["usd"] * 20_000)),
    ],
)
async def test_a_bad_stream_ends_at_once(stub: Any, method: str, request_: Any) -> None:
    with pytest.raises(InvalidInput):
        async for _ in getattr(stub, method)(request_, timeout=10):
            raise AssertionError("nothing is streamed")


async def test_a_request_beyond_a_megabyte_is_not_read(stub: Any) -> None:
    with pytest.raises(CoincastError):
        await stub.GetPrices(pb.GetPricesRequest(ids=["x" * 1000] * 1100), timeout=10)


async def test_repeated_ids_are_one(stub: Any) -> None:
    reply = await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin", "BITCOIN "] * 250), timeout=10)
    assert [price.id for price in reply.prices] == ["bitcoin"]
