"""The schedule follows a steady clock: no jump skips, repeats or delays a training."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from coincast_training.schedule.cron import LATE_SECONDS, Calendar
from tests.unit.clock_jumps import DAY, HOUR, JUMPS, JumpingClock

# A Saturday at noon; the schedule fires on Sundays at three.
SATURDAY = dt.datetime(2025, 8, 30, 12, tzinfo=dt.UTC).timestamp()
SUNDAY_AT_THREE = SATURDAY + 15 * HOUR


class CountedCalendar(Calendar):
    """Counts the times at which it fires."""

    def __init__(self, clock: JumpingClock, cron: str = "0 3 * * sun") -> None:
        jobs: Any = None
        super().__init__(
            jobs=jobs, registry=jobs, cron=cron, models=(), coins=(), days=365, clock=clock.steady
        )
        self.fired: list[float] = []
        self.has_fired = asyncio.Event()
        self._machine = clock

    async def fire(self) -> list[str]:
        self.fired.append(self._machine.monotonic())
        self.has_fired.set()
        return ["job"]


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("back", [True, False], ids=["and back", "for good"])
async def test_a_jump_neither_skips_nor_repeats_nor_delays_a_training(jump: float, back: bool) -> None:
    clock = JumpingClock(SATURDAY)
    calendar = CountedCalendar(clock)
    calendar.start()
    try:
        assert calendar.next_run_at() == SUNDAY_AT_THREE
        clock.jump(jump)
        for minute in range(16 * 60):
            if back and minute == 30:
                clock.jump(-jump)
            clock.advance(60)
            await calendar.check()
        assert calendar.fired == [15 * HOUR]
        assert calendar.next_run_at() == SUNDAY_AT_THREE + 7 * DAY
        for _ in range(7 * 24):
            clock.advance(HOUR / 2)
            clock.jump(jump if _ % 2 else -jump)
            clock.advance(HOUR / 2)
            await calendar.check()
        assert len(calendar.fired) == 2
    finally:
        calendar.stop()


async def test_a_time_that_was_slept_through_is_skipped() -> None:
    clock = JumpingClock(SATURDAY)
    calendar = CountedCalendar(clock)
    calendar.start()
    clock.advance(15 * HOUR + LATE_SECONDS + 1)
    assert await calendar.check() == []
    assert calendar.next_run_at() == SUNDAY_AT_THREE + 7 * DAY
    clock.advance(7 * DAY - LATE_SECONDS)
    assert await calendar.check() == ["job"]
    calendar.stop()


async def test_an_empty_schedule_fires_never() -> None:
    calendar = CountedCalendar(JumpingClock(SATURDAY), cron="")
    calendar.start()
    assert calendar.next_run_at() is None
    assert await calendar.check() == []
    calendar.stop()


async def test_the_loop_fires_by_itself() -> None:
    clock = JumpingClock(SATURDAY)
    calendar = CountedCalendar(clock, cron="* * * * *")
    calendar.start()
    clock.advance(60)
    async with asyncio.timeout(5):
        await calendar.has_fired.wait()
    calendar.stop()
    assert calendar.next_run_at() is None
