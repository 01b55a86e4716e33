"""History: archive and upstream merged, every shortfall said, the open day never kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Unavailable
from coincast_market_data.archive.store import Archive
from coincast_market_data.coingecko.error_mapping import BeyondPlanReach
from coincast_market_data.domain import Candle, Completeness, Source
from coincast_market_data.history.gap_filler import (
    HOURLY_DAYS,
    LATE_RETRY_SECONDS,
    ChartClient,
    GapFiller,
    plan_calls,
    spans,
)
from coincast_market_data.history.service import RETRY_PARTIAL_SECONDS, HistoryService, chunks
from coincast_market_data.jobs.backfill import BackfillJob
from coincast_market_data.ports import Priority, UpstreamReply, UpstreamRequest
from coincast_market_data.validation.quality_log import QualityLog
from tests.unit.market.market_fakes import FakeCharts, FakeDirectory

TODAY = date(2025, 9, 1)
NOON = datetime(2025, 9, 1, 13, 0, tzinfo=UTC).timestamp()
BORN = datetime(2020, 1, 1, 0, 0, tzinfo=UTC).timestamp()


class Rig:
    """A history service over a fake upstream and a real archive."""

    def __init__(
        self, folder: Path, *, reach_days: int = 36_500, plan_gives: int = 36_500, hourly: bool = True
    ) -> None:
        self.clock = ManualClock(NOON)
        self.charts = FakeCharts(self.clock.now, BORN, reach_days=plan_gives)
        self.archive = Archive(folder)
        self.archive.open()
        self.quality = QualityLog()
        self.filler = GapFiller(
            ChartClient(self.charts),
            self.archive,
            self.clock,
            self.quality,
            reach_days=reach_days,
            hourly_chunks=hourly,
            calls_at_once=4,
        )
        self.history = HistoryService(
            self.archive,
            self.filler,
            self.clock,
            sandbox=False,
            directory=FakeDirectory(),
        )
        self.backfill = BackfillJob(self.filler, self.clock)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.archive.close()


@pytest.fixture
def free(tmp_path: Path) -> Iterator[Rig]:
    """A plan that reaches 365 days back."""
    made = Rig(tmp_path, reach_days=365, plan_gives=365, hourly=False)
    yield made
    made.archive.close()


async def test_closed_days_only_newest_last_and_whole(rig: Rig) -> None:
    found = await rig.history.get("bitcoin", "usd", 30)
    assert [c.day for c in found.candles] == [TODAY - timedelta(days=n) for n in range(30, 0, -1)]
    assert all(c.is_whole for c in found.candles)
    assert found.candles[-1].close == rig.charts.price(NOON - 13 * 3600)
    assert found.provenance.source is Source.LIVE
    assert found.provenance.age_seconds == pytest.approx(13 * 3600)
    assert not found.truncated


async def test_the_second_time_comes_from_the_archive(rig: Rig) -> None:
    first = await rig.history.get("bitcoin", "usd", 30)
    calls = len(rig.charts.requests)
    again = await rig.history.get("bitcoin", "usd", 20)
    assert len(rig.charts.requests) == calls
    assert again.provenance.source is Source.ARCHIVE
    assert list(again.candles) == list(first.candles)[-20:]


async def test_a_long_span_is_fetched_in_hourly_pieces_and_survives_a_restart(
    rig: Rig, tmp_path: Path
) -> None:
    found = await rig.history.get("bitcoin", "usd", 400)
    assert len(found.candles) == 400
    assert all(c.is_whole for c in found.candles)
    assert len(rig.charts.requests) == 5
    rig.archive.close()
    later = Rig(tmp_path)
    assert (await later.history.get("bitcoin", "usd", 400)).provenance.source is Source.ARCHIVE
    assert later.charts.requests == []
    later.archive.close()


async def test_a_new_day_costs_one_call_and_keeps_the_rest(rig: Rig) -> None:
    await rig.history.get("bitcoin", "usd", 60)
    calls = len(rig.charts.requests)
    rig.clock.advance(86_400)
    found = await rig.history.get("bitcoin", "usd", 60)
    assert found.candles[-1].day == TODAY
    assert len(rig.charts.requests) == calls + 1


async def test_more_days_than_the_coin_has_is_said_and_not_requested_twice(rig: Rig) -> None:
    found = await rig.history.get("bitcoin", "usd", 5000)
    assert found.truncated
    assert "2020-01-01" in found.truncated_reason
    assert len(found.candles) == (TODAY - date(2020, 1, 1)).days
    calls = len(rig.charts.requests)
    await rig.history.get("bitcoin", "usd", 5000)
    assert len(rig.charts.requests) == calls


async def test_a_free_plan_is_clamped_and_said(free: Rig) -> None:
    found = await free.history.get("bitcoin", "usd", 1000)
    assert found.truncated
    assert "365 days back" in found.truncated_reason
    assert 363 <= len(found.candles) <= 365
    assert len(free.charts.requests) == 1, "one call of daily points"


async def test_a_backfill_makes_bare_closes_whole(free: Rig) -> None:
    found = await free.history.get("bitcoin", "usd", 200)
    assert not found.candles[0].is_whole
    steps = [step async for step in free.backfill.run(["bitcoin"], "usd", 200)]
    assert steps[-1].candles_added > 190
    assert all(request.priority is Priority.BACKFILL for request in free.charts.requests[1:])
    again = await free.history.get("bitcoin", "usd", 200)
    assert all(c.is_whole for c in again.candles)
    assert [c.close for c in again.candles] == [c.close for c in found.candles]


async def test_the_archive_grows_beyond_the_plans_reach(free: Rig) -> None:
    await free.history.get("bitcoin", "usd", 365)
    for _ in range(10):
        free.clock.advance(86_400 * 30)
        await free.history.get("bitcoin", "usd", 365)
    found = await free.history.get("bitcoin", "usd", 660)
    assert len(found.candles) >= 655
    assert found.missing_days == []


async def test_a_plan_that_turns_out_smaller_is_learnt(tmp_path: Path) -> None:
    rig = Rig(tmp_path, hourly=False)
    rig.charts.error = BeyondPlanReach("only 365 days")
    original = rig.charts.fetch

    async def refuse_long(request: UpstreamRequest) -> UpstreamReply:
        days = int(dict(request.query).get("days", 0))
        rig.charts.error = BeyondPlanReach("only 365 days") if days > 366 else None
        return await original(request)

    rig.charts.fetch = refuse_long  # type: ignore[method-assign]  # a fake that refuses long spans
    found = await rig.history.get("bitcoin", "usd", 900)
    assert found.truncated
    assert rig.filler.reach_days == 365
    assert len(found.candles) >= 363
    rig.archive.close()


async def test_a_dead_upstream_leaves_the_archive_and_says_so(rig: Rig) -> None:
    await rig.history.get("bitcoin", "usd", 30)
    rig.charts.error = Unavailable("down")
    rig.clock.advance(3 * 86_400)
    found = await rig.history.get("bitcoin", "usd", 30)
    assert found.candles[-1].day == TODAY - timedelta(days=1)
    assert (found.provenance.source, found.provenance.stale) == (Source.STALE, True)
    assert found.provenance.reason == "down"
    with pytest.raises(Unavailable, match="down") as caught:
        await rig.history.get("bitcoin", "usd", 30, max_age_seconds=86_400)
    assert caught.value.field == "max_age_seconds"
    with pytest.raises(Unavailable, match="down"):
        await rig.history.get("ethereum", "usd", 30)


async def test_a_delisted_coin_keeps_its_past(rig: Rig) -> None:
    await rig.history.get("bitcoin", "usd", 30)
    rig.charts.error = NotFound("gone")
    rig.clock.advance(86_400 * 2)
    found = await rig.history.get("bitcoin", "usd", 10)
    assert found.provenance.stale
    with pytest.raises(NotFound):
        await rig.history.get("nope", "usd", 10)


async def test_a_backfill_resumes_where_it_stopped(rig: Rig) -> None:
    rig.charts.error, rig.charts.fail_after = Unavailable("quota"), 3
    steps = [step async for step in rig.backfill.run(["bitcoin"], "usd", 1000)]
    assert steps[0].failure is not None and steps[0].failure.kind == "unavailable"
    kept = len(await rig.archive.read("bitcoin", "usd"))
    assert kept >= 3 * HOURLY_DAYS
    rig.charts.error, calls = None, len(rig.charts.requests)
    steps = [step async for step in rig.backfill.run(["bitcoin", "../x"], "usd", 1000)]
    assert {step.id: bool(step.failure) for step in steps} == {"bitcoin": False, "../x": True}
    assert next(s for s in steps if s.id == "bitcoin").candles_added == 1000 - kept
    assert len(rig.charts.requests) - calls == -(-(1000 - kept) // HOURLY_DAYS)


async def test_streams_come_in_order_and_say_the_same(rig: Rig) -> None:
    parts = list(chunks(await rig.history.get("bitcoin", "usd", 1900)))
    days = [c.day for part in parts for c in part.candles]
    assert days == [TODAY - timedelta(days=n) for n in range(1900, 0, -1)]
    assert len(parts) == 2


@pytest.mark.parametrize("days", [0, -1, 10_001])
async def test_days_out_of_range_are_refused(rig: Rig, days: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        await rig.history.get("bitcoin", "usd", days)
    assert caught.value.field == "days"


@given(st.sets(st.integers(0, 1500), min_size=1))
def test_spans_cover_every_day_and_none_is_too_long(offsets: set[int]) -> None:
    days = [TODAY - timedelta(days=n) for n in sorted(offsets, reverse=True)]
    found = spans(days)
    for day in days:
        assert sum(first <= day <= last for first, last in found) == 1
    assert all((last - first).days < HOURLY_DAYS for first, last in found)
    assert [last for _, last in found] == sorted((last for _, last in found), reverse=True)


def test_a_short_span_is_one_call_back_from_now() -> None:
    missing = [TODAY - timedelta(days=n) for n in range(30, 0, -1)]
    (call,) = plan_calls(missing, TODAY, "usd", hourly=True)
    assert dict(call.query)["days"] == "31"
    assert plan_calls([], TODAY, "usd", hourly=True) == []


async def test_a_look_for_the_newest_day_leaves_a_quarter_of_whole_candles(rig: Rig) -> None:
    found = await rig.history.get("bitcoin", "usd", 3)
    assert len(found.candles) == 3
    assert found.completeness is Completeness.WHOLE
    kept = await rig.archive.read("bitcoin", "usd")
    assert len(kept) == HOURLY_DAYS
    assert all(candle.is_whole for candle in kept)
    assert len(rig.charts.requests) == 1
    await rig.history.get("bitcoin", "usd", HOURLY_DAYS)
    assert len(rig.charts.requests) == 1, "the wider question is answered by the same call"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(Unavailable("down"), RETRY_PARTIAL_SECONDS), (Exhausted("quota", retry_after_seconds=33.0), 33.0)],
)
async def test_a_partial_history_says_so_and_is_completed_when_requested_again(
    free: Rig, error: CoincastError, seconds: float
) -> None:
    await free.history.get("bitcoin", "usd", 3)
    free.charts.error = error
    partial = await free.history.get("bitcoin", "usd", 300)
    assert len(partial.candles) == HOURLY_DAYS
    assert partial.completeness is Completeness.PARTIAL
    assert partial.partial_reason == error.message
    assert partial.retry_after_seconds == seconds
    free.charts.error = None
    whole = await free.history.get("bitcoin", "usd", 300)
    assert (len(whole.candles), whole.completeness) == (300, Completeness.WHOLE)
    assert (whole.partial_reason, whole.retry_after_seconds) == ("", None)


async def test_a_history_cut_by_the_plan_says_so(free: Rig) -> None:
    found = await free.history.get("bitcoin", "usd", 1000)
    assert found.completeness is Completeness.CUT_BY_PLAN
    young = await free.history.get("bitcoin", "usd", 300)
    assert young.completeness is Completeness.WHOLE


async def test_a_young_coin_is_whole_however_much_is_requested(rig: Rig) -> None:
    found = await rig.history.get("bitcoin", "usd", 5000)
    assert (found.truncated, found.completeness) == (True, Completeness.WHOLE)


@pytest.mark.slow
async def test_every_span_of_a_stream_says_whether_the_whole_is_complete(rig: Rig) -> None:
    await rig.history.get("bitcoin", "usd", 1500)
    rig.charts.error = Unavailable("down")
    rig.clock.advance(86_400)
    spans_of_it = list(chunks(await rig.history.get("bitcoin", "usd", 1500)))
    assert [span.completeness for span in spans_of_it] == [Completeness.PARTIAL] * 2
    assert all(span.partial_reason == "down" for span in spans_of_it)


async def test_a_closed_day_that_comes_late_is_requested_again_after_a_while(rig: Rig) -> None:
    await rig.history.get("bitcoin", "usd", 30)
    rig.clock.advance(86_400)
    behind = rig.charts.now
    rig.charts.now = lambda: behind() - 86_400
    late = await rig.history.get("bitcoin", "usd", 30)
    assert late.completeness is Completeness.PARTIAL
    assert 0 < (late.retry_after_seconds or 0) <= LATE_RETRY_SECONDS
    calls = len(rig.charts.requests)
    await rig.history.get("bitcoin", "usd", 30)
    assert len(rig.charts.requests) == calls, "not at every request"
    rig.charts.now = behind
    rig.clock.advance(LATE_RETRY_SECONDS)
    found = await rig.history.get("bitcoin", "usd", 30)
    assert (found.candles[-1].day, found.completeness) == (TODAY, Completeness.WHOLE)


async def test_what_was_known_at_a_moment_holds_no_later_day(rig: Rig) -> None:
    await rig.history.get("bitcoin", "usd", 60)
    for back in range(31):
        moment = NOON - back * 86_400
        found = await rig.history.get("bitcoin", "usd", 20, known_at=moment)
        assert found.candles[-1].day == TODAY - timedelta(days=back + 1)
        assert len(found.candles) == 20
        assert found.provenance.age_seconds == pytest.approx(13 * 3600)
    with pytest.raises(InvalidInput) as caught:
        await rig.history.get("bitcoin", "usd", 20, known_at=NOON + 60)
    assert caught.value.field == "known_at"
    with pytest.raises(NotFound):
        await rig.history.get("bitcoin", "usd", 20, known_at=BORN)


async def test_a_day_that_came_late_is_left_out_before_it_came(rig: Rig) -> None:
    """A missing day and the newest ones come two days late."""
    late = {TODAY - timedelta(days=n) for n in (1, 2, 9)}
    days = [TODAY - timedelta(days=n) for n in range(30, 0, -1)]
    await rig.archive.add("bitcoin", "usd", [Candle(d, 100.0) for d in days if d not in late], at=NOON - 9e5)
    came = NOON + 2 * 86_400
    await rig.archive.add("bitcoin", "usd", [Candle(d, 101.0) for d in sorted(late)], at=came)
    rig.clock.advance(3 * 86_400)
    before = await rig.history.get("bitcoin", "usd", 20, known_at=came - 1)
    assert not late & {candle.day for candle in before.candles}
    assert before.provenance.stale
    assert "had come by then" in before.provenance.reason
    assert "3 days are left out: they came later than that moment" in before.quality_notes
    after = await rig.history.get("bitcoin", "usd", 20, known_at=came)
    assert late <= {candle.day for candle in after.candles} | {TODAY}
    assert not any("left out" in note for note in after.quality_notes)


async def test_a_month_replayed_shows_only_what_had_come(rig: Rig) -> None:
    """Days come with delays of up to four days, out of order; each moment sees those that had come."""
    await rig.archive.add("bitcoin", "usd", [Candle(TODAY - timedelta(days=40), 99.0)])
    came: dict[date, float] = {}
    for n in range(35, 0, -1):
        day = TODAY - timedelta(days=n)
        came[day] = NOON - n * 86_400 + 86_400 * (1 + (n * 7) % 4)
    for day, at in sorted(came.items(), key=lambda one: one[1]):
        await rig.archive.add("bitcoin", "usd", [Candle(day, 100.0)], at=at)
    rig.clock.advance(6 * 86_400)
    for back in range(32):
        moment = NOON - back * 86_400 + 60
        found = await rig.history.get("bitcoin", "usd", 30, known_at=moment)
        assert all(came.get(candle.day, 0.0) <= moment for candle in found.candles)
        last = date.fromordinal(TODAY.toordinal() - back - 1)
        expected = {day for day, at in came.items() if at <= moment and day <= last}
        assert expected - {candle.day for candle in found.candles} <= {
            day for day in expected if (last - day).days >= 30
        }


async def test_days_whose_arrival_is_not_recorded_count_as_known_soon_after_their_end(rig: Rig) -> None:
    """The days of a coin's first fetch, and those before its first stored one."""
    await rig.history.get("bitcoin", "usd", 60)
    stored = await rig.archive.read("bitcoin", "usd")
    assert all(candle.received_at is None for candle in stored)
    found = await rig.history.get("bitcoin", "usd", 20, known_at=NOON - 10 * 86_400)
    assert found.quality_notes == [
        "when all days came is not recorded: each counts as known 35 minutes after its end"
    ]
    rig.clock.advance(86_400)
    await rig.history.get("bitcoin", "usd", 60)
    newest = (await rig.archive.read("bitcoin", "usd"))[-1]
    assert (newest.day, newest.received_at) == (TODAY, rig.clock.now())
    mixed = await rig.history.get("bitcoin", "usd", 20, known_at=rig.clock.now())
    assert mixed.quality_notes[0].startswith("when 19 of 20 days came is not recorded")
