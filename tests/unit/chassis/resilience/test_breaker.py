"""Each trap of breakers for asyncio has a test that the naive code fails."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import InvalidInput, Timeout, Unavailable
from coincast_chassis.resilience.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerOpen


def make(clock: ManualClock, **changes: Any) -> Breaker:
    options: dict[str, Any] = {
        "fail_max": 3,
        "reset_seconds": 10.0,
        "min_calls": 3,
        "probe_seconds": 1.0,
        "clock": clock,
    }
    return Breaker("upstream", **{**options, **changes}, listeners=())


async def fail() -> None:
    raise Unavailable("down")


async def succeed() -> str:
    return "ok"


async def bad_input() -> None:
    raise InvalidInput("not your fault")


def forever(gate: asyncio.Event) -> Callable[[], Awaitable[str]]:
    async def wait() -> str:
        await gate.wait()
        return "ok"

    return wait


async def trip(breaker: Breaker) -> None:
    while breaker.state == CLOSED:
        with pytest.raises(Unavailable):
            await breaker.call(fail)


@pytest.mark.parametrize("answer", [succeed, bad_input])
async def test_a_dependency_that_has_not_answered_yet_is_asked_again_sooner(
    answer: Callable[[], Awaitable[str | None]],
) -> None:
    clock = ManualClock()
    breaker = make(clock, starting_reset_seconds=0.5)
    await trip(breaker)
    for _ in range(3):
        assert breaker.retry_after_seconds == 0.5
        clock.advance(0.5)
        with pytest.raises(Unavailable, match="down"):
            await breaker.call(fail)
    clock.advance(0.5)
    with contextlib.suppress(InvalidInput):
        await breaker.call(answer)
    clock.advance(20.0)
    with contextlib.suppress(InvalidInput):
        await breaker.call(succeed)
    await trip(breaker)
    assert breaker.retry_after_seconds == 10.0


async def test_asynchronous_failures_open_it():
    breaker = make(ManualClock())
    for _ in range(3):
        with pytest.raises(Unavailable):
            await breaker.call(fail)
    assert breaker.state == OPEN
    with pytest.raises(BreakerOpen) as caught:
        await breaker.call(succeed)
    assert caught.value.retry_after_seconds == 10.0


async def test_it_does_not_open_before_the_least_number_of_calls():
    breaker = make(ManualClock(), min_calls=10)
    for _ in range(9):
        with pytest.raises(Unavailable):
            await breaker.call(fail)
    assert breaker.state == CLOSED
    await trip(breaker)
    assert breaker.state == OPEN


async def test_the_wall_clock_does_not_move_the_window():
    clock = ManualClock()
    breaker = make(clock)
    await trip(breaker)
    clock.set_wall(clock.now() + 1e6)
    with pytest.raises(BreakerOpen):
        await breaker.call(succeed)
    clock.set_wall(0.0)
    clock.advance(10.0)
    assert await breaker.call(succeed) == "ok"
    assert breaker.state == CLOSED


async def test_half_open_admits_one_probe_of_fifty_callers():
    clock, gate = ManualClock(), asyncio.Event()
    breaker = make(clock)
    await trip(breaker)
    clock.advance(10.0)
    callers = [asyncio.create_task(breaker.call(forever(gate))) for _ in range(50)]
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [o for o in outcomes if not isinstance(o, BreakerOpen)] == ["ok"]


async def test_a_cancelled_call_counts_as_nothing():
    breaker = make(ManualClock())
    for _ in range(10):
        task = asyncio.create_task(breaker.call(forever(asyncio.Event())))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert breaker.state == CLOSED
    await trip(breaker)
    assert breaker.state == OPEN


@pytest.mark.parametrize("end", ["cancelled", "bad input"])
async def test_a_probe_that_says_nothing_leaves_it_half_open_for_the_next(end):
    clock = ManualClock()
    breaker = make(clock)
    await trip(breaker)
    clock.advance(10.0)
    if end == "cancelled":
        task = asyncio.create_task(breaker.call(forever(asyncio.Event())))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    else:
        with pytest.raises(InvalidInput):
            await breaker.call(bad_input)
    assert breaker.state == HALF_OPEN
    with pytest.raises(Unavailable):
        await breaker.call(fail)
    assert breaker.state == OPEN


async def test_a_probe_that_hangs_is_ended():
    clock = ManualClock()
    breaker = make(clock, probe_seconds=0.05)
    await trip(breaker)
    clock.advance(10.0)
    with pytest.raises(Timeout):
        await breaker.call(forever(asyncio.Event()))
    assert breaker.state == OPEN


async def test_the_block_form_counts_alike_and_nests():
    breaker, other = make(ManualClock()), make(ManualClock())
    for _ in range(3):
        with pytest.raises(Unavailable):
            async with other, breaker, breaker:
                raise Unavailable("down")
    assert breaker.state == OPEN
    assert other.state == OPEN
    with pytest.raises(BreakerOpen):
        async with breaker:
            pytest.fail("the gate let it pass")


async def test_listeners_hear_each_move_once():
    clock, received = ManualClock(), []
    breaker = Breaker(
        "x", fail_max=1, min_calls=1, reset_seconds=1, clock=clock, listeners=[lambda *m: received.append(m)]
    )
    await trip(breaker)
    clock.advance(1.0)
    await breaker.call(succeed)
    assert received == [("x", CLOSED, OPEN), ("x", OPEN, HALF_OPEN), ("x", HALF_OPEN, CLOSED)]


@given(st.lists(st.sampled_from(["ok", "fail", "bad", "wait"]), max_size=60))
def test_it_never_opens_without_failures_in_a_row(steps):
    async def play() -> None:
        clock = ManualClock()
        breaker, row, calls = make(clock, fail_max=3, min_calls=5), 0, 0
        for step in steps:
            before = breaker.state
            clock.advance(20.0 if step == "wait" else 0.0)
            if step == "wait":
                continue
            try:
                await breaker.call({"ok": succeed, "fail": fail, "bad": bad_input}[step])
            except BreakerOpen:
                assert before == OPEN
                continue
            except (Unavailable, InvalidInput):
                pass
            if before == CLOSED:
                calls += step in ("ok", "fail")
                row = row + 1 if step == "fail" else (0 if step == "ok" else row)
                assert (breaker.state == OPEN) == (step == "fail" and row >= 3 and calls >= 5)
            if breaker.state != before:
                row = calls = 0

    asyncio.run(play())
