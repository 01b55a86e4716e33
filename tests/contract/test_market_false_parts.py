"""Parts of a chart are false in one fetch, by any factor and at any place, or the spot price is."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, Unavailable
from coincast_market_data.archive.store import Archive
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.domain import Candle
from coincast_market_data.history.candle_builder import last_closed_day, midnight
from coincast_market_data.prices.fetcher import ABSENT_SECONDS
from coincast_market_data.validation.outliers import CONFIRMED_AFTER_SECONDS
from tests.contract.market_mock import MockUpstream, market_over

DAY = 86_400
HOURS = pb.CANDLE_INTERVAL_ONE_HOUR
DAYS = pb.CANDLE_INTERVAL_ONE_DAY


def true_price(moment: float) -> float:
    """Return a price that moves by a few percent a day."""
    return 100.0 * math.exp(0.15 * math.sin(moment / DAY / 9) + 0.03 * math.sin(moment / 3600 / 5))


class FalseParts(MockUpstream):
    """An upstream that multiplies `count` points of each chart at a place, and spot prices, while `false`."""

    false = True
    place = "end"
    count = 0
    factor = 1.0
    spot_factor = 1.0

    def _chart(self, query: dict[str, str], price: float) -> dict[str, list[list[float]]]:
        chart = super()._chart(query, 1.0)
        for name, rows in chart.items():
            size = 1.0 if name == "prices" else 1e6
            rows[:] = [[at, true_price(at / 1000) * size] for at, _ in rows]
            if self.false and self.count:
                first = {"end": len(rows) - self.count, "start": 0, "middle": len(rows) // 2}[self.place]
                part = slice(max(0, first), max(0, first) + self.count)
                rows[part] = [[at, value * self.factor] for at, value in rows[part]]
        return chart

    def _document(self, path: str, query: dict[str, str], price: float) -> Any:
        true = true_price(self.now()) * (self.spot_factor if self.false else 1.0)
        if path == "simple/price":
            return {coin: {"usd": true} for coin in query.get("ids", "").split(",")}
        return super()._document(path, query, true)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time() // DAY * DAY + DAY / 2)


@pytest.fixture
def mock(clock: ManualClock) -> FalseParts:
    return FalseParts(clock)


async def history(stub: Any, days: int, interval: Any = DAYS) -> Any:
    """Return the history; on a busy machine a fetch may end after a caller's patience."""
    request = pb.GetHistoryRequest(id="bitcoin", days=days, interval=interval)
    for _ in range(20):
        found = (await stub.GetHistory(request, timeout=20)).history
        if "in time" not in found.partial_reason:
            break
        await asyncio.sleep(0.5)
    return found


def wrong(found: Any) -> list[str]:
    """Return the candles of which a price is far from the true one."""
    hours = [(str(c.start_unix_seconds), c.start_unix_seconds + 3600.0, c) for c in found.hourly_candles]
    days = [(c.date, midnight(date.fromisoformat(c.date)) + DAY, c) for c in found.candles]
    return [
        name
        for name, at, candle in [*hours, *days]
        for price in [getattr(candle, n) for n in ("open", "high", "low") if candle.HasField(n)]
        + [candle.close]
        if not true_price(at) / 1.6 < price < true_price(at) * 1.6
    ]


CASES = [
    # (place, points, factor, days, interval, plan, days of the archive before)
    ("end", 26, 5.0, 10, DAYS, PlanName.DEMO, 0),
    ("end", 26, 0.2, 10, DAYS, PlanName.DEMO, 1),
    ("end", 100, 3.0, 10, DAYS, PlanName.DEMO, 1),
    ("end", 3, 0.3, 200, DAYS, PlanName.DEMO, 0),
    ("end", 48, 0.001, 200, DAYS, PlanName.DEMO, 0),
    ("middle", 3, 5.0, 200, DAYS, PlanName.DEMO, 0),
    ("middle", 3, 1000.0, 80, DAYS, PlanName.DEMO, 0),
    ("middle", 80, 0.001, 200, DAYS, PlanName.PRO, 0),
    ("start", 80, 0.001, 200, DAYS, PlanName.PRO, 0),
    ("start", 30, 5.0, 200, DAYS, PlanName.PRO, 0),
    ("end", 3, 5.0, 5, HOURS, PlanName.DEMO, 0),
    ("end", 48, 1000.0, 5, HOURS, PlanName.DEMO, 0),
    ("end", 48, 0.2, 5, HOURS, PlanName.DEMO, 1),
]


@pytest.mark.parametrize(("place", "count", "factor", "days", "interval", "plan", "before"), CASES)
async def test_no_false_part_is_served_or_kept(
    mock: FalseParts,
    clock: ManualClock,
    tmp_path: Path,
    *,
    place: str,
    count: int,
    factor: float,
    days: int,
    interval: Any,
    plan: PlanName,
    before: int,
) -> None:
    async with market_over(mock, tmp_path, plan=plan) as stub:
        if before:
            await history(stub, days, interval)
            clock.advance(before * DAY)
        mock.place, mock.count, mock.factor = place, count, factor
        if before or count < 30:
            await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
        found = await history(stub, days, interval)
        assert wrong(found) == []
        mock.false = False
        clock.advance(CONFIRMED_AFTER_SECONDS + 301)
        healed = await history(stub, days, interval)
        assert wrong(healed) == []
        assert len(healed.candles) + len(healed.hourly_candles) == days * (24 if interval == HOURS else 1)
        assert not healed.in_doubt


async def test_a_part_that_later_fetches_repeat_is_true(
    mock: FalseParts, clock: ManualClock, tmp_path: Path
) -> None:
    mock.place, mock.count, mock.factor = "middle", 60, 5.0
    chart = mock._chart({"days": "89"}, 1.0)
    mock.extra = {f"coins/bitcoin/market_chart{end}": chart for end in ("", "/range")}
    async with market_over(mock, tmp_path) as stub:
        first = await history(stub, 80)
        assert (wrong(first), first.in_doubt) == ([], True)
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        found = await history(stub, 80)
        assert wrong(found)
        assert (len(found.candles), found.in_doubt) == (80, False)


@pytest.mark.parametrize("factor", [9.5, 0.11, 1000.0])
async def test_a_first_price_that_a_history_contradicts_is_dropped(
    mock: FalseParts, clock: ManualClock, tmp_path: Path, factor: float
) -> None:
    question = pb.GetPricesRequest(ids=["bitcoin"])
    mock.spot_factor = factor
    async with market_over(mock, tmp_path, plan=PlanName.DEMO) as stub:
        await stub.GetPrices(question, timeout=10)
        with pytest.raises(Unavailable, match="not confirmed"):
            await history(stub, 30)
        clock.advance(2)
        with pytest.raises(Unavailable, match="far off"):
            await stub.GetPrices(question, timeout=10)
        mock.false = False
        clock.advance(61)
        price = (await stub.GetPrices(question, timeout=10)).prices[0]
        assert price.price == pytest.approx(true_price(clock.now()))
        assert not price.provenance.stale
        clock.advance(CONFIRMED_AFTER_SECONDS)
        assert wrong(await history(stub, 30)) == []


async def test_a_true_price_after_a_false_one_is_accepted_where_the_archive_agrees(
    mock: FalseParts, clock: ManualClock, tmp_path: Path
) -> None:
    """A false price that the source repeats is accepted in the end; the archive agrees with the true one."""
    question = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path, plan=PlanName.DEMO) as stub:
        await history(stub, 30)
        mock.spot_factor = 3.0
        with pytest.raises(Unavailable, match="not confirmed"):
            await stub.GetPrices(question, timeout=10)
        clock.advance(CONFIRMED_AFTER_SECONDS)
        assert (await stub.GetPrices(question, timeout=10)).prices[0].price > 200
        mock.false = False
        # Beyond the window in which an older price is served while a newer one is fetched.
        clock.advance(301)
        price = (await stub.GetPrices(question, timeout=10)).prices[0]
        assert price.price == pytest.approx(true_price(clock.now()))
        assert not price.provenance.stale


@pytest.mark.parametrize("factor", [5.0, 0.2, 1000.0])
@pytest.mark.parametrize(
    "false", [{0, 1}, {20, 21, 22}, {58, 59}, {0, 30, 59}], ids=["end", "middle", "start", "all three"]
)
async def test_repair_mends_days_that_no_request_would_doubt(
    mock: FalseParts, clock: ManualClock, tmp_path: Path, factor: float, false: set[int]
) -> None:
    await store(tmp_path, clock, factor, false)
    async with market_over(mock, tmp_path) as stub:
        (step,) = [step async for step in stub.Repair(pb.RepairRequest())]
        assert step.error.message == ""
        assert len(step.implausible_dates) >= len(false)
        found = await history(stub, 60)
        assert (wrong(found), len(found.candles)) == ([], 60)


async def store(folder: Path, clock: ManualClock, factor: float, false: Sequence[int] | set[int]) -> None:
    last = last_closed_day(clock.now())
    candles = []
    for back in reversed(range(60)):
        day = last - timedelta(days=back)
        price = true_price(midnight(day) + DAY) * (factor if back in false else 1.0)
        candles.append(Candle(day, price, price, price, price))
    archive = Archive(folder / "sandbox")
    archive.open()
    await archive.add("bitcoin", "usd", candles)
    archive.close()


EMPTY_CHART: Any = {"prices": [], "market_caps": [], "total_volumes": []}


@pytest.mark.parametrize("hours", [1, 27, 100])
@pytest.mark.parametrize(
    ("path", "query", "empty"),
    [
        ("coins/markets", {"vs_currency": "usd", "ids": "bitcoin"}, []),
        ("coins/bitcoin/market_chart", {"vs_currency": "usd", "days": "2"}, EMPTY_CHART),
        ("coins/bitcoin/market_chart", {"vs_currency": "usd", "days": "2"}, {}),
        ("coins/bitcoin/ohlc", {"vs_currency": "usd", "days": "1"}, []),
        ("coins/bitcoin", {}, {}),
        ("simple/price", {"ids": "bitcoin", "vs_currencies": "usd"}, {}),
        ("simple/price", {"ids": "bitcoin", "vs_currencies": "usd"}, {"bitcoin": {}}),
        ("simple/price", {"ids": "bitcoin", "vs_currencies": "usd"}, []),
    ],
)
async def test_a_coin_of_the_archive_is_known_however_old_its_price_is(
    mock: FalseParts, clock: ManualClock, tmp_path: Path, *, path: str, query: dict[str, str], empty: Any,
    hours: int,
) -> None:  # fmt: skip
    request = pb.GetDocumentRequest(path=path, query=query)
    async with market_over(mock, tmp_path) as stub:
        await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=10), timeout=10)
        await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
        clock.advance(hours * 3600)
        mock.extra[path] = empty
        with pytest.raises(CoincastError):
            reply = await stub.GetDocument(request, timeout=10)
            # An earlier document with its true age is as good as an error.
            assert orjson.loads(reply.json) != empty, reply.json
            assert reply.provenance.stale
            raise Unavailable("served as stale")
    clock.advance(3600)
    async with market_over(mock, tmp_path) as stub:
        with pytest.raises(CoincastError):
            await stub.GetDocument(request, timeout=10)


async def test_a_coin_that_stays_away_is_gone(mock: FalseParts, clock: ManualClock, tmp_path: Path) -> None:
    request = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path, stale_if_error_seconds=60.0) as stub:
        await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=10), timeout=10)
        mock.extra["simple/price"] = {}
        with pytest.raises(Unavailable, match="missing in this reply"):
            await stub.GetPrices(request, timeout=10)
        clock.advance(ABSENT_SECONDS + 60)
        (gone,) = (await stub.GetPrices(request, timeout=10)).errors
        assert gone.kind == common_pb2.ERROR_KIND_NOT_FOUND


@pytest.mark.parametrize(
    ("path", "query", "empty"),
    [
        ("coins/markets", {"vs_currency": "usd"}, []),
        ("coins/markets", {"vs_currency": "usd", "ids": "bitcoin"}, []),
        ("coins/list", {}, []),
        ("coins/list", {"status": "active"}, []),
        ("simple/supported_vs_currencies", {}, []),
        ("coins/bitcoin/market_chart", {"vs_currency": "usd", "days": "2"}, EMPTY_CHART),
        ("coins/bitcoin/ohlc", {"vs_currency": "usd", "days": "1"}, []),
    ],
)
async def test_an_empty_document_where_entries_are_known_is_bad_data(
    mock: FalseParts, clock: ManualClock, tmp_path: Path, *, path: str, query: dict[str, str], empty: Any
) -> None:
    request = pb.GetDocumentRequest(path=path, query=query)
    long_enough = {"markets_fresh_seconds": 1.0, "series_fresh_seconds": 1.0, "lists_fresh_seconds": 1.0}
    async with market_over(mock, tmp_path, **long_enough) as stub:
        await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
        before = orjson.loads((await stub.GetDocument(request, timeout=10)).json)
        mock.extra[path] = empty
        clock.advance(5)
        reply = await stub.GetDocument(request, timeout=10)
        assert orjson.loads(reply.json) == before
    async with market_over(mock, tmp_path / "other", **long_enough) as stub:
        await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
        with pytest.raises(CoincastError, match="empty"):
            await stub.GetDocument(request, timeout=10)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("exchanges/list", {"status": "inactive"}),
        ("coins/list", {"status": "inactive"}),
        ("coins/markets", {"vs_currency": "usd", "category": "no-such-category"}),
        ("coins/markets", {"vs_currency": "usd", "page": "2"}),
        ("coins/markets", {"vs_currency": "usd", "ids": "no-such-coin"}),
        ("asset_platforms", {"filter": "nft"}),
    ],
)
async def test_a_selection_may_be_empty(
    mock: FalseParts, tmp_path: Path, path: str, query: dict[str, str]
) -> None:
    mock.extra[path] = []
    async with market_over(mock, tmp_path) as stub:
        reply = await stub.GetDocument(pb.GetDocumentRequest(path=path, query=query), timeout=10)
    assert (orjson.loads(reply.json), reply.error_status) == ([], 0)
