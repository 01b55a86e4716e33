"""The week of a sparkline: plausibility, candles, number of calls, and that it is not stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, Exhausted, NotFound
from coincast_market_data.archive.store import Archive
from coincast_market_data.domain import Completeness
from coincast_market_data.history.gap_filler import ChartClient, GapFiller
from coincast_market_data.history.service import HistoryService
from coincast_market_data.history.sparkline import Sparkline, WeeklySparklines, build_week, read_sparkline
from coincast_market_data.identifiers import Pair
from coincast_market_data.ports import UpstreamReply, UpstreamRequest
from coincast_market_data.validation.quality_log import QualityLog
from tests.unit.market.market_fakes import FakeCharts, FakeDirectory

NOW = datetime(2025, 9, 1, 13, 20, tzinfo=UTC).timestamp()
LAST = date(2025, 8, 31)
HOUR = 3600
COINS = ("bitcoin", "ethereum", "ripple", "cardano")


def price(moment: float) -> float:
    """A price that grows by one each hour."""
    return 1000.0 + (moment - NOW) / HOUR


def row(coin: str = "bitcoin", *, prices: Any = None, count: int = 168, **changes: Any) -> dict[str, Any]:
    times = [NOW - (count - 1 - place) * HOUR for place in range(count)]
    return {
        "id": coin,
        "current_price": price(NOW),
        "last_updated": datetime.fromtimestamp(NOW, UTC).isoformat(),
        "sparkline_in_7d": {"price": [price(t) for t in times] if prices is None else prices},
    } | changes


class Table:
    """CoinGecko's market table with sparklines."""

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []
        self.error: CoincastError | None = None

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        coins = dict(request.query)["ids"].split(",")
        rows = [row(coin) for coin in coins]
        return UpstreamReply(rows, b"", received_at=NOW, as_of=NOW, seconds=0.01)


class NoSpot:
    def last_price(self, pair: Pair) -> float | None:
        return None


@pytest.mark.parametrize("minute", [0, 7, 29, 31, 52])
def test_a_week_has_the_closes_of_its_days_within_half_an_hour(minute: int) -> None:
    ended = datetime(2025, 9, 1, 13, minute, tzinfo=UTC).timestamp()
    prices = tuple(price(ended - (167 - place) * HOUR) for place in range(168))
    week = build_week(Sparkline(prices, ended), LAST)
    assert [c.day for c in week] == [LAST - timedelta(days=n) for n in range(6, -1, -1)]
    for candle in week:
        midnight = (
            datetime(candle.day.year, candle.day.month, candle.day.day, tzinfo=UTC).timestamp() + 86_400
        )
        assert candle.close == pytest.approx(price(midnight), abs=0.51)
    assert week[0].high is None
    for candle in week[1:]:
        assert candle.is_whole
        assert candle.high is not None
        assert candle.low is not None
        assert candle.high - candle.low == pytest.approx(24, abs=1.1)


def test_a_young_coin_has_the_days_that_it_has() -> None:
    prices = tuple(price(NOW - (49 - place) * HOUR) for place in range(50))
    assert [c.day for c in build_week(Sparkline(prices, NOW), LAST)] == [LAST - timedelta(days=1), LAST]


@pytest.mark.parametrize(
    ("changes", "spot"),
    [
        ({"sparkline_in_7d": None}, None),
        ({"sparkline_in_7d": {}}, None),
        ({"prices": []}, None),
        ({"prices": [1.0]}, None),
        ({"prices": [1000.0] * 100 + [None] + [1000.0] * 67}, None),
        ({"prices": [1000.0] * 100 + [float("nan")] + [1000.0] * 67}, None),
        ({"prices": [1000.0] * 100 + [0] + [1000.0] * 67}, None),
        ({"prices": [1000.0] * 100 + ["1000"] + [1000.0] * 67}, None),
        ({"prices": [1000.0] * 100 + [10_000.0] + [1000.0] * 67}, None),
        ({"prices": [1.0] * 168}, None),
        ({"current_price": 1.0}, None),
        ({}, 10.0),
        ({"last_updated": "2025-09-01T11:00:00Z"}, None),
    ],
)
def test_what_cannot_be_true_is_not_used(changes: dict[str, Any], spot: float | None) -> None:
    prices = changes.pop("prices", None)
    assert read_sparkline(row(prices=prices, **changes), NOW, spot) is None


@pytest.mark.parametrize("changes", [{}, {"last_updated": None}, {"current_price": None}])
def test_a_plain_row_is_used(changes: dict[str, Any]) -> None:
    found = read_sparkline(row(**changes), NOW, 900.0)
    assert found is not None
    assert found.ended_at == NOW


async def test_one_call_brings_all_and_is_not_repeated() -> None:
    table, clock = Table(), ManualClock(NOW)
    lines = WeeklySparklines(table, clock, NoSpot())
    await lines.fetch(COINS, "usd")
    assert all(lines.candles(coin, "usd", LAST) for coin in COINS)
    await lines.fetch([*COINS, "solana", "litecoin", "chainlink"], "usd")
    assert len(table.requests) == 1
    clock.advance(61)
    await lines.fetch([*COINS, "solana", "litecoin", "chainlink"], "usd")
    assert dict(table.requests[1].query)["ids"] == "solana,litecoin,chainlink"
    assert lines.candles("bitcoin", "usd", LAST + timedelta(days=1)) == []
    clock.advance(7 * HOUR)
    assert lines.candles("bitcoin", "usd", LAST) == []


async def test_two_coins_are_not_worth_a_call() -> None:
    table = Table()
    await WeeklySparklines(table, ManualClock(NOW), NoSpot()).fetch(COINS[:2], "usd")
    assert table.requests == []


async def test_a_refusal_costs_one_call_a_minute() -> None:
    table, clock = Table(), ManualClock(NOW)
    table.error = Exhausted("The quota is used up", retry_after_seconds=30)
    lines = WeeklySparklines(table, clock, NoSpot())
    for _ in range(5):
        await lines.fetch(COINS, "usd")
        clock.advance(10)
    assert len(table.requests) == 1
    assert lines.candles("bitcoin", "usd", LAST) == []


class Rig:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOW)
        self.charts = FakeCharts(self.clock.now, NOW - 1000 * 86_400)
        self.archive = Archive(folder)
        self.archive.open()
        self.table = Table()
        self.lines = WeeklySparklines(self.table, self.clock, NoSpot())
        filler = GapFiller(
            ChartClient(self.charts),
            self.archive,
            self.clock,
            QualityLog(),
            reach_days=365,
            hourly_chunks=False,
            calls_at_once=4,
        )
        self.history = HistoryService(
            self.archive,
            filler,
            self.clock,
            sandbox=False,
            directory=FakeDirectory(),
            monotonic=self.clock,
            sparklines=self.lines,
        )


async def test_a_week_stands_in_partial_with_the_reason_and_is_never_stored(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.charts.error = Exhausted("The quota at CoinGecko is used up for now", retry_after_seconds=21)
    await rig.history.fetch_sparklines(COINS, "usd")
    found = await rig.history.get("ethereum", "usd", 365, week_after=rig.clock.monotonic() + 1.5)
    assert (found.completeness, found.from_sparkline) == (Completeness.PARTIAL, True)
    assert "last week" in found.partial_reason
    assert "quota" in found.partial_reason
    assert found.retry_after_seconds == 21
    assert len(found.candles) == 7
    assert not rig.archive.holds("ethereum", "usd")
    assert await rig.archive.read("ethereum", "usd") == ()
    with pytest.raises(Exhausted):
        await rig.history.get("ethereum", "usd", 365)
    rig.charts.error = None
    whole = await rig.history.get("ethereum", "usd", 365, week_after=rig.clock.monotonic() + 1.5)
    assert len(whole.candles) >= 364
    assert not whole.from_sparkline
    rig.archive.close()


async def test_without_time_left_no_history_is_fetched_for_a_reference(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.history.fetch_sparklines(COINS, "usd")
    found = await rig.history.get("ethereum", "usd", 365, week_after=rig.clock.monotonic())
    assert found.from_sparkline
    assert rig.charts.requests == []
    rig.archive.close()


async def test_an_unknown_coin_has_no_week(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.history.fetch_sparklines(COINS, "usd")
    rig.charts.error = NotFound("coin not found")
    with pytest.raises(NotFound):
        await rig.history.get("ethereum", "usd", 365, week_after=rig.clock.monotonic() + 1)
    rig.archive.close()


async def test_coins_of_the_archive_cost_no_sparkline(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for coin in COINS:
        await rig.history.get(coin, "usd", 30)
    await rig.history.fetch_sparklines(COINS, "usd")
    assert rig.table.requests == []
    rig.archive.close()
