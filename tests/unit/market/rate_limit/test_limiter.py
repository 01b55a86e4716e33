"""The quota: never more than the plan in any minute, priorities, pauses; in process and in Redis alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Exhausted
from coincast_chassis.redis import open_redis
from coincast_market_data.ports import Priority
from coincast_market_data.rate_limit.limiter import (
    MINUTE_SHARE,
    ClockReading,
    InFlightScripts,
    Limits,
    LocalFallback,
    QuotaWindow,
    RateLimiter,
    ScriptReply,
)
from coincast_market_data.redis_executor import RedisExecutor
from tests.unit.market.market_limiter import governor_on, grants

NOW = 1_750_000_000.0


def at(now: float) -> ClockReading:
    """A moment on a machine whose clocks agree."""
    return ClockReading(now, now)


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 30), st.sampled_from(list(Priority))), max_size=200),
)
def test_never_more_than_the_plan_in_any_minute(per_minute: int, asks: list[tuple[float, Priority]]) -> None:
    window = QuotaWindow(Limits(per_minute, 0))
    now, granted = NOW, []
    for step, priority in asks:
        now += step
        if window.try_acquire(at(now), priority).granted:
            granted.append(now)
    for start in granted:
        assert sum(start <= moment < start + 60 for moment in granted) <= per_minute


@given(st.integers(1, 60), st.sampled_from(list(Priority)))
def test_the_reported_wait_is_enough(per_minute: int, priority: Priority) -> None:
    window = QuotaWindow(Limits(per_minute, 0))
    while (result := window.try_acquire(at(NOW), priority)).granted:
        pass
    if int(per_minute * MINUTE_SHARE[priority]) > 0:
        assert window.try_acquire(at(NOW + result.wait_seconds), priority).granted


def test_backfill_leaves_half_for_callers() -> None:
    window = QuotaWindow(Limits(10, 0))
    backfilled = sum(window.try_acquire(at(NOW), Priority.BACKFILL).granted for _ in range(50))
    refreshed = sum(window.try_acquire(at(NOW), Priority.REFRESH).granted for _ in range(50))
    live = sum(window.try_acquire(at(NOW), Priority.LIVE).granted for _ in range(50))
    assert (backfilled, refreshed, live) == (5, 3, 2)


def test_a_refusal_pauses_everyone_and_lowers_the_limit_for_a_while() -> None:
    window = QuotaWindow(Limits(10, 0))
    window.refused(at(NOW), 119.0)
    result = window.try_acquire(at(NOW + 60), Priority.LIVE)
    assert not result.granted
    assert result.wait_seconds == pytest.approx(59.0)
    after = NOW + 120
    assert sum(window.try_acquire(at(after), Priority.LIVE).granted for _ in range(20)) == 7, (
        "halved, a fifth recovered"
    )
    late = NOW + 1000
    assert sum(window.try_acquire(at(late), Priority.LIVE).granted for _ in range(20)) == 10


def test_the_month_is_kept_and_begins_again() -> None:
    window = QuotaWindow(Limits(1000, 10))
    assert sum(window.try_acquire(at(NOW), Priority.BACKFILL).granted for _ in range(20)) == 7
    assert sum(window.try_acquire(at(NOW), Priority.LIVE).granted for _ in range(20)) == 3
    assert window.try_acquire(at(NOW + 31 * 86_400), Priority.LIVE).granted


async def test_without_redis_each_process_keeps_its_share() -> None:
    limiter = governor_on(open_redis("redis://127.0.0.1:1/0"), Limits(30, 0), replicas=3)
    assert await grants(limiter, Priority.LIVE, 50) == 10
    assert not limiter.shared


async def test_a_caller_waits_for_its_turn_and_no_longer() -> None:
    clock = ManualClock(NOW)
    limiter = RateLimiter(
        Limits(1, 0), replicas=1, clock=clock, executor=RedisExecutor(), client=None, prefix="w:"
    )
    await limiter.acquire(Priority.LIVE, 0.0)
    with pytest.raises(Exhausted) as caught:
        await limiter.acquire(Priority.LIVE, 5.0)
    assert caught.value.retry_after_seconds == pytest.approx(61.0)


async def test_a_step_of_the_wall_clock_neither_frees_nor_blocks_calls() -> None:
    """Without Redis, and in a pause too: an hour on and an hour back."""
    clock = ManualClock(NOW)
    limiter = RateLimiter(
        Limits(5, 0), replicas=1, clock=clock, executor=RedisExecutor(), client=None, prefix="w:"
    )
    assert await grants(limiter, Priority.LIVE, 9) == 5
    for step in (3600.0, -7200.0):
        clock.set_wall(clock.now() + step)
        assert await grants(limiter, Priority.LIVE, 9) == 0, f"the minute is spent, after {step:+.0f} s"
        clock.advance(61.0)
        assert await grants(limiter, Priority.LIVE, 9) == 5, f"a new minute, after {step:+.0f} s"
    await limiter.refused(600.0)
    clock.set_wall(NOW + 86_400.0)
    assert (await limiter.usage()).paused_seconds == pytest.approx(600.0)
    clock.advance(599.0)
    assert await grants(limiter, Priority.LIVE, 9) == 0
    clock.set_wall(NOW - 86_400.0)
    clock.advance(2.0)
    assert await grants(limiter, Priority.LIVE, 9) > 0


def reply_of(reserve: int, *, born: int = 1, settled: int = 1) -> ScriptReply:
    return ScriptReply(
        granted=0,
        wait_ms=0,
        minute_used=0,
        minute_limit=90,
        month_used=0,
        paused_ms=0,
        replicas=3,
        reserve=reserve,
        born=born,
        settled=settled,
    )


def test_the_reserve_is_what_redis_surely_holds() -> None:
    """A larger one only when nothing else is under way, a smaller one at once, and what was spent meanwhile
    is spent.
    """
    alone = LocalFallback(Limits(90, 0), 1)
    together = InFlightScripts(alone.spent)
    alone.learn(at(NOW), reply_of(9), together, granted=0, surely=False)
    assert alone.reserve == 0, "another word may have made it smaller"
    together.least = 7
    alone.learn(at(NOW), reply_of(9), together, granted=0, surely=True)
    assert alone.reserve == 7
    assert alone.try_acquire(at(NOW), Priority.LIVE, "a").granted
    assert alone.reserve == 6
    before = InFlightScripts(alone.spent, least=8)
    assert alone.try_acquire(at(NOW), Priority.LIVE, "b").granted
    alone.learn(at(NOW), reply_of(8), before, granted=0, surely=True)
    assert alone.reserve == 7, "one was spent while the question was under way"
    alone.learn(at(NOW), reply_of(3), InFlightScripts(alone.spent), granted=0, surely=False)
    assert alone.reserve == 3
    assert sum(alone.try_acquire(at(NOW + 1), Priority.LIVE, str(n)).granted for n in range(20)) == 3
    assert sum(alone.try_acquire(at(NOW + 100), Priority.LIVE, str(n)).granted for n in range(99)) == 30, (
        "its full share"
    )


def test_every_call_is_reported_once_to_a_redis_that_restarted_empty() -> None:
    alone = LocalFallback(Limits(90, 0), 1)
    alone.learn(at(NOW), reply_of(9), InFlightScripts(0, least=9), granted=0, surely=True)
    alone.remember("by-redis", at(NOW))
    alone.try_acquire(at(NOW + 1), Priority.LIVE, "alone")
    alone.learn(
        at(NOW + 2), reply_of(0, born=2, settled=0), InFlightScripts(alone.spent), granted=0, surely=True
    )
    unreported = alone.take_unreported(at(NOW + 3))
    assert unreported.old == 0
    assert sorted((own.member, own.counted) for own in unreported.calls) == [
        ("alone", False),
        ("by-redis", True),
    ]
    assert alone.reserve == 8, "what was set aside before is still its own"


def test_a_refusal_that_could_not_be_reported_is_reported_with_the_next_command() -> None:
    alone = LocalFallback(Limits(90, 0), 1)
    alone.refused(at(NOW), 60.0)
    lost = alone.take_unreported(at(NOW))
    assert (lost.refusals, alone.take_unreported(at(NOW)).refusals) == (1, 0)
    alone.put_back(lost)
    assert (alone.take_unreported(at(NOW)).refusals, alone.take_unreported(at(NOW)).refusals) == (1, 0)


def test_who_has_nothing_left_says_how_long_the_pause_is() -> None:
    alone = LocalFallback(Limits(90, 0), 1)
    alone.learn(at(NOW), reply_of(0), InFlightScripts(0, least=0), granted=0, surely=True)
    alone.refused(at(NOW), 600.0)
    assert alone.try_acquire(at(NOW), Priority.LIVE, "a").wait_seconds == pytest.approx(600.0)
