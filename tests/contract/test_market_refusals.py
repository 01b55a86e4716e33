"""Refusals and missing figures of the upstream are cached and reported, at one call per window."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, NotFound
from coincast_market_data.validation.outliers import CONFIRMED_AFTER_SECONDS
from tests.contract.market_mock import MockUpstream, market_over, noon_clock

FRESH_SECONDS = 30.0
REQUESTS = 25


@pytest.fixture
def clock() -> ManualClock:
    return noon_clock()


@pytest.fixture
def mock(clock: ManualClock) -> MockUpstream:
    return MockUpstream(clock)


@pytest.fixture
async def stub(mock: MockUpstream, tmp_path: Path) -> AsyncIterator[Any]:
    async with market_over(mock, tmp_path, prices_fresh_seconds=FRESH_SECONDS) as found:
        yield found


async def prices(stub: Any, **question: Any) -> pb.GetPricesResponse:
    return await stub.GetPrices(pb.GetPricesRequest(**question), timeout=10)


@pytest.mark.parametrize(
    "document",
    [{}, {"bitcoin": {}}, {"bitcoin": {"usd": None}}, {"bitcoin": {"usd": 2000.0}}, {"bitcoin": {"usd": -1}}],
    ids=["left out", "empty", "null", "twentyfold", "negative"],
)
async def test_a_price_that_is_not_accepted_costs_one_call_a_window(
    mock: MockUpstream, clock: ManualClock, stub: Any, document: dict[str, Any]
) -> None:
    await prices(stub, ids=["bitcoin"])
    mock.extra["simple/price"] = document
    clock.advance(2 * FRESH_SECONDS)
    before = mock.calls["simple/price"]
    for number in range(REQUESTS):
        reply = await prices(stub, ids=["bitcoin"], max_age_seconds=86_400 + number)
        assert reply.prices[0].price == 100.0
        assert reply.prices[0].provenance.stale
    assert mock.calls["simple/price"] - before <= 2
    mock.extra = {}
    clock.advance(FRESH_SECONDS + 1)
    reply = await prices(stub, ids=["bitcoin"], max_age_seconds=1.0)
    assert not reply.prices[0].provenance.stale, "fetched again and accepted"


@pytest.mark.parametrize("document", [{}, {"bitcoin": {}}, {"bitcoin": {"usd": None}}])
async def test_a_known_coin_without_a_price_is_not_called_unknown(
    mock: MockUpstream, stub: Any, document: dict[str, Any]
) -> None:
    mock.extra["simple/price"] = document
    await stub.ListCoins(pb.ListCoinsRequest(), timeout=10)
    before = mock.calls["simple/price"]
    for _ in range(REQUESTS):
        reply = await prices(stub, ids=["bitcoin"])
        assert reply.errors[0].kind == common_pb2.ERROR_KIND_NOT_FOUND
        assert reply.errors[0].message == "bitcoin has no price in usd at CoinGecko"
    assert mock.calls["simple/price"] - before <= 1


async def refused(stub: Any, path: str, query: dict[str, str]) -> bool:
    """Return whether a document is refused, by an error or by CoinGecko's own."""
    try:
        reply = await stub.GetDocument(pb.GetDocumentRequest(path=path, query=query), timeout=10)
    except CoincastError:
        return True
    return bool(reply.error_status)


@pytest.mark.parametrize("path", ["coins/bitcoin", "coins/bitcoin/market_chart", "coins/bitcoin/ohlc"])
async def test_a_document_that_is_refused_costs_one_call_a_window(
    mock: MockUpstream, clock: ManualClock, stub: Any, path: str
) -> None:
    mock.extra[path] = {"error": "internal trouble"}
    query = {} if path == "coins/bitcoin" else {"vs_currency": "usd", "days": "7"}
    for _ in range(REQUESTS):
        assert await refused(stub, path, query)
    assert mock.calls[path] == 1
    mock.extra = {}
    clock.advance(61)
    assert not await refused(stub, path, query)


async def test_a_history_that_is_refused_costs_one_call_a_window(mock: MockUpstream, stub: Any) -> None:
    path = "coins/bitcoin/market_chart"
    mock.extra[path] = {"status": {"error_code": 404, "error_message": "coin not found"}}
    await stub.ListCoins(pb.ListCoinsRequest(), timeout=10)
    for _ in range(REQUESTS):
        with pytest.raises(NotFound, match="lists bitcoin, but has no history of it") as refusal:
            await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=30), timeout=10)
        assert not refusal.value.suggestions
    assert mock.calls[path] == 1


async def test_a_listed_coin_that_the_table_lacks_is_not_called_unknown(
    mock: MockUpstream, stub: Any
) -> None:
    await stub.ListCoins(pb.ListCoinsRequest(), timeout=10)
    mock.extra["coins/markets"] = [{"id": "ethereum", "current_price": 100.0, "market_cap": 1e9}]
    reply = await stub.GetMarkets(
        pb.GetMarketsRequest(vs_currency="usd", ids=["bitcoin", "ethereum"]), timeout=10
    )
    assert [row.id for row in reply.markets] == ["ethereum"]
    assert [(each.id, each.message) for each in reply.errors] == [
        ("bitcoin", "CoinGecko lists bitcoin, but has no market data of it")
    ]


@pytest.mark.parametrize("left", [0, 3])
async def test_a_shrunken_list_is_reported_as_unconfirmed(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path, left: int
) -> None:
    mock.coins = [f"coin-{number}" for number in range(20)]
    async with market_over(mock, tmp_path, lists_fresh_seconds=60.0) as stub:
        assert (await stub.ListCoins(pb.ListCoinsRequest(), timeout=10)).total == 20
        mock.coins = mock.coins[:left]
        clock.advance(1000)
        for _ in range(5):
            reply = await stub.ListCoins(pb.ListCoinsRequest(), timeout=10)
            assert (reply.total, reply.provenance.stale) == (20, True)
            assert "shrank from 20" in reply.provenance.reason or "being fetched" in reply.provenance.reason
        assert mock.calls["coins/list"] == 2
        clock.advance(max(1000, CONFIRMED_AFTER_SECONDS))
        reply = await stub.ListCoins(pb.ListCoinsRequest(), timeout=10)
        assert reply.total == (left or 20), "confirmed, unless nothing is left"


async def test_an_empty_table_of_known_coins_is_bad_data(
    mock: MockUpstream, clock: ManualClock, stub: Any
) -> None:
    await stub.ListCoins(pb.ListCoinsRequest(), timeout=10)
    question = pb.GetMarketsRequest(vs_currency="usd")
    assert len((await stub.GetMarkets(question, timeout=10)).markets) == 2
    mock.extra["coins/markets"] = []
    clock.advance(600)
    reply = await stub.GetMarkets(question, timeout=10)
    assert len(reply.markets) == 2
    assert reply.provenance.stale
