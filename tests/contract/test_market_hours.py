"""Hourly candles over gRPC: from what passes anyway, within the plan, and whole or said not to be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data.coingecko.api_plans import PlanName
from tests.contract.market_mock import MockUpstream, market_over, noon_clock

HOUR = 3600
CHART = "coins/bitcoin/market_chart"


@pytest.fixture
def clock() -> ManualClock:
    clock = noon_clock()
    clock.advance(600)
    return clock


@pytest.fixture
def mock(clock: ManualClock) -> MockUpstream:
    return MockUpstream(clock)


@pytest.fixture
async def stub(mock: MockUpstream, tmp_path: Path) -> AsyncIterator[Any]:
    async with market_over(mock, tmp_path, plan=PlanName.DEMO) as found:
        yield found


async def hours(stub: Any, days: int, **more: Any) -> pb.GetHistoryResponse:
    request = pb.GetHistoryRequest(id="bitcoin", days=days, interval=pb.CANDLE_INTERVAL_ONE_HOUR, **more)
    return await stub.GetHistory(request, timeout=10)


async def test_closed_hours_come_with_one_call_and_stay(
    mock: MockUpstream, clock: ManualClock, stub: Any
) -> None:
    found = (await hours(stub, 7)).history
    newest = int(clock.now()) // HOUR * HOUR - HOUR
    assert [candle.start_unix_seconds for candle in found.hourly_candles] == [
        newest - n * HOUR for n in reversed(range(7 * 24))
    ]
    assert found.interval == pb.CANDLE_INTERVAL_ONE_HOUR
    assert found.completeness == pb.HISTORY_COMPLETENESS_WHOLE
    assert not found.provenance.stale
    assert mock.calls[CHART] == 1
    await hours(stub, 7)
    assert mock.calls[CHART] == 1
    clock.advance(HOUR)
    assert (await hours(stub, 7)).history.hourly_candles[-1].start_unix_seconds == newest + HOUR
    assert mock.calls[CHART] == 2


async def test_a_daily_history_leaves_the_hours_behind(mock: MockUpstream, stub: Any) -> None:
    await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=30), timeout=10)
    before = mock.calls[CHART]
    found = (await hours(stub, 30)).history
    assert len(found.hourly_candles) == 30 * 24
    assert mock.calls[CHART] == before


async def test_more_than_the_plan_gives_by_the_hour_is_cut_and_said(stub: Any) -> None:
    found = (await hours(stub, 200)).history
    assert 85 * 24 <= len(found.hourly_candles) <= 91 * 24
    assert found.truncated
    assert found.completeness == pb.HISTORY_COMPLETENESS_CUT_BY_PLAN


async def test_json_and_streams_say_the_same(stub: Any) -> None:
    document = json.loads((await hours(stub, 3, encode_json=True)).json)
    assert (document["interval"], len(document["candles"])) == ("1h", 72)
    assert document["candles"][0]["time"].endswith(":00:00Z")
    request = pb.StreamHistoryRequest(ids=["bitcoin"], days=60, interval=pb.CANDLE_INTERVAL_ONE_HOUR)
    spans = [part.history async for part in stub.StreamHistory(request, timeout=20)]
    assert sum(len(span.hourly_candles) for span in spans) == 60 * 24
    assert len(spans) == 2


async def test_hours_that_cannot_be_fetched_are_reported_stale(
    mock: MockUpstream, clock: ManualClock, stub: Any
) -> None:
    await hours(stub, 3)
    mock.extra[CHART] = {"error": "down"}
    clock.advance(3 * HOUR)
    found = (await hours(stub, 3)).history
    assert found.provenance.stale
    assert found.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
    assert found.partial_reason


async def test_hours_known_at_a_moment_end_with_those_closed_then(clock: ManualClock, stub: Any) -> None:
    newest = (await hours(stub, 7)).history.hourly_candles
    moment = newest[-10].start_unix_seconds + HOUR
    clock.advance(5 * HOUR)
    request = pb.StreamHistoryRequest(ids=["bitcoin"], days=3, interval=pb.CANDLE_INTERVAL_ONE_HOUR)
    request.known_at.FromSeconds(moment + 600)
    (span,) = [reply.history async for reply in stub.StreamHistory(request, timeout=10)]
    assert span.hourly_candles[-1] == newest[-10]
    assert len(span.hourly_candles) == 3 * 24
    assert span.known_at == request.known_at
    assert not span.provenance.stale
    assert span.quality_notes == [
        "when all hours came is not recorded: each counts as known 5 minutes after its end"
    ]


async def test_replayed_days_show_the_hours_that_had_come_by_then(clock: ManualClock, stub: Any) -> None:
    """The hours are fetched at odd times; each moment sees what was served then, and nothing later."""
    seen: dict[float, pb.History] = {}
    for step in range(48):
        found = (await hours(stub, 3)).history
        seen[clock.now()] = found
        # Between two fetches nothing comes, although hours close.
        seen[clock.now() + HOUR + 60] = found
        clock.advance((2 + step * 5 % 7) * HOUR + 90)
    for moment, then in seen.items():
        request = pb.GetHistoryRequest(id="bitcoin", days=4, interval=pb.CANDLE_INTERVAL_ONE_HOUR)
        request.known_at.FromMicroseconds(round(moment * 1e6))
        again = (await stub.GetHistory(request, timeout=10)).history
        newest = then.hourly_candles[-1]
        assert again.hourly_candles[-1] == newest, moment
        since = [
            c for c in then.hourly_candles if c.start_unix_seconds >= newest.start_unix_seconds - 60 * HOUR
        ]
        assert list(again.hourly_candles)[-61:] == since
        assert again.completeness == pb.HISTORY_COMPLETENESS_WHOLE
        document = json.loads(
            (await stub.GetHistory(_with_json(request), timeout=10)).json,
        )
        assert len(document["candles"]) == len(again.hourly_candles)
    late = [note for note in again.quality_notes if "left out" in note]
    assert again.provenance.stale and late == []
    assert again.provenance.reason.endswith("had come by then")


def _with_json(request: pb.GetHistoryRequest) -> pb.GetHistoryRequest:
    encoded = pb.GetHistoryRequest()
    encoded.CopyFrom(request)
    encoded.encode_json = True
    return encoded


async def test_hours_that_came_later_are_left_out_and_counted(
    mock: MockUpstream, clock: ManualClock, stub: Any
) -> None:
    await hours(stub, 3)
    clock.advance(6 * HOUR)
    moment = clock.now()
    clock.advance(1)
    await hours(stub, 3)
    calls = mock.calls[CHART]
    request = pb.GetHistoryRequest(id="bitcoin", days=3, interval=pb.CANDLE_INTERVAL_ONE_HOUR)
    request.known_at.FromSeconds(int(moment))
    found = (await stub.GetHistory(request, timeout=10)).history
    assert found.quality_notes[0] == "6 hours are left out: they came later than that moment"
    assert found.provenance.stale
    assert mock.calls[CHART] == calls, "no later fetch tells what was known then"
    request.known_at.FromSeconds(int(moment) - 9 * 365 * 24 * HOUR)
    with pytest.raises(NotFound) as caught:
        await stub.GetHistory(request, timeout=10)
    assert caught.value.field == "known_at"


@pytest.mark.parametrize("interval", [pb.CANDLE_INTERVAL_ONE_DAY, pb.CANDLE_INTERVAL_ONE_HOUR])
async def test_span_takes_the_place_of_days(interval: Any, clock: ManualClock, stub: Any) -> None:
    width = HOUR if interval == pb.CANDLE_INTERVAL_ONE_HOUR else 24 * HOUR
    today = int(clock.now()) // (24 * HOUR) * 24 * HOUR
    first, last = today - 30 * 24 * HOUR, today - 20 * 24 * HOUR

    async def starts(**bounds: int) -> list[int]:
        request = pb.StreamHistoryRequest(ids=["bitcoin"], days=2, interval=interval)
        for name, value in bounds.items():
            getattr(request, name).FromSeconds(value)
        (reply,) = [reply async for reply in stub.StreamHistory(request, timeout=10)]
        if reply.WhichOneof("chunk") == "error":
            assert reply.error.id == "bitcoin"
            return []
        if interval == pb.CANDLE_INTERVAL_ONE_HOUR:
            return [candle.start_unix_seconds for candle in reply.history.hourly_candles]
        days = (date.fromisoformat(candle.date) for candle in reply.history.candles)
        return [int(datetime.combine(day, time(), UTC).timestamp()) for day in days]

    assert await starts(from_time=first, to_time=last) == list(range(first, last + 1, width))
    # `to_time` alone: the days count back from it, its own candle included.
    count = 48 if interval == pb.CANDLE_INTERVAL_ONE_HOUR else 2
    assert await starts(to_time=last) == [last - n * width for n in reversed(range(count))]
    assert (await starts(from_time=last))[0] == last
    assert await starts(from_time=last, to_time=first) == []
    assert await starts(to_time=today - 9 * 365 * 24 * HOUR) == []


async def test_days_known_at_a_moment_are_streamed_for_each_coin(clock: ManualClock, stub: Any) -> None:
    request = pb.StreamHistoryRequest(ids=["bitcoin", "ethereum"], days=5)
    request.known_at.FromSeconds(int(clock.now()) - 3 * 24 * HOUR)
    spans = [reply.history async for reply in stub.StreamHistory(request, timeout=10)]
    assert [span.id for span in spans] == ["bitcoin", "ethereum"]
    whole = (await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=8), timeout=10)).history
    assert list(spans[0].candles) == list(whole.candles)[:5]


@pytest.mark.parametrize("interval", [pb.CANDLE_INTERVAL_ONE_DAY, pb.CANDLE_INTERVAL_ONE_HOUR])
async def test_moment_to_come_is_refused_by_name(interval: Any, clock: ManualClock, stub: Any) -> None:
    request = pb.GetHistoryRequest(id="bitcoin", days=3, interval=interval)
    request.known_at.FromSeconds(int(clock.now()) + 60)
    with pytest.raises(InvalidInput) as caught:
        await stub.GetHistory(request, timeout=5)
    assert caught.value.field == "known_at"


async def test_hours_of_a_past_moment_cost_no_call_for_later_ones(
    mock: MockUpstream, clock: ManualClock, stub: Any
) -> None:
    """The daily models read the hours up to the close all day long, also those that came after it."""
    await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=60), timeout=10)
    before = mock.calls[CHART]
    close = int(clock.now()) // (24 * HOUR) * 24 * HOUR
    clock.advance(5 * HOUR)
    request = pb.GetHistoryRequest(id="bitcoin", days=60, interval=pb.CANDLE_INTERVAL_ONE_HOUR)
    request.to_time.FromSeconds(close - HOUR)
    found = (await stub.GetHistory(request, timeout=10)).history
    assert found.hourly_candles[-1].start_unix_seconds == close - HOUR
    assert mock.calls[CHART] == before


async def stored(stub: Any) -> list[pb.StreamHistoryResponse]:
    request = pb.StreamHistoryRequest(
        ids=["bitcoin"], days=7, interval=pb.CANDLE_INTERVAL_ONE_HOUR, stored_only=True
    )
    return [reply async for reply in stub.StreamHistory(request, timeout=10)]


async def test_stored_hours_take_no_call_of_the_plan(
    mock: MockUpstream, clock: ManualClock, stub: Any
) -> None:
    (reply,) = await stored(stub)
    assert reply.error.id == "bitcoin"
    assert mock.calls[CHART] == 0
    await hours(stub, 7)
    newest = int(clock.now()) // HOUR * HOUR - HOUR
    clock.advance(3 * HOUR)
    (reply,) = await stored(stub)
    assert reply.history.hourly_candles[-1].start_unix_seconds == newest
    assert reply.history.provenance.stale
    assert mock.calls[CHART] == 1
