"""One fetch for many callers, whichever of them are cancelled."""

import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_chassis import context
from coincast_chassis.resilience.single_flight import SingleFlight


async def test_a_hundred_callers_share_one_fetch():
    flight, fetches = SingleFlight[str, int](), 0

    async def fetch() -> int:
        nonlocal fetches
        fetches += 1
        await asyncio.sleep(0.01)
        return 7

    assert await asyncio.gather(*(flight.do("k", fetch) for _ in range(100))) == [7] * 100
    assert fetches == 1
    assert len(flight) == 0


async def test_the_fetch_outlives_the_caller_who_began_it():
    flight, ended = SingleFlight[str, int](), asyncio.Event()

    async def fetch() -> int:
        await asyncio.sleep(0.02)
        ended.set()
        return 1

    first = asyncio.create_task(flight.do("k", fetch))
    await asyncio.sleep(0)
    second = asyncio.create_task(flight.do("k", fetch))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
    only = asyncio.create_task(flight.do("k", fetch))
    await asyncio.sleep(0)
    ended.clear()
    only.cancel()
    await asyncio.wait_for(ended.wait(), 1)


async def test_the_fetch_has_no_caller_s_deadline_but_its_request_id():
    flight, seen = SingleFlight[str, None](), []

    async def fetch() -> None:
        seen.append((context.remaining_seconds(), context.request_id()))

    with context.bind(request_id="first", deadline_seconds=0.001):
        await flight.do("k", fetch)
    assert seen == [(None, "first")]


async def test_an_error_reaches_all_and_is_not_kept():
    flight = SingleFlight[str, int]()

    async def fail() -> int:
        raise ValueError("no")

    async def work() -> int:
        return 1

    outcomes = await asyncio.gather(*(flight.do("k", fail) for _ in range(3)), return_exceptions=True)
    assert [str(o) for o in outcomes] == ["no"] * 3
    assert await flight.do("k", work) == 1


async def test_an_error_that_nobody_waits_for_is_no_noise():
    flight, loop = SingleFlight[str, int](), asyncio.get_running_loop()
    noises: list[object] = []
    loop.set_exception_handler(lambda _loop, noise: noises.append(noise))

    async def fail() -> int:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    caller = asyncio.create_task(flight.do("k", fail))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0.03)
    gc.collect()
    assert noises == []


async def test_closing_ends_what_is_in_flight():
    flight = SingleFlight[str, bool]()
    caller = asyncio.create_task(flight.do("k", asyncio.Event().wait))
    await asyncio.sleep(0)
    await flight.aclose()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert len(flight) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=30))
def test_every_caller_gets_its_own_key_s_value(callers):
    async def play() -> None:
        flight: SingleFlight[str, str] = SingleFlight()

        async def one(key: str, delay: int, leaves: bool) -> None:
            for _ in range(delay):
                await asyncio.sleep(0)

            async def fetch() -> str:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                return key

            task = asyncio.create_task(flight.do(key, fetch))
            if leaves:
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait({task})
            else:
                assert await task == key

        await asyncio.gather(*(one(*caller) for caller in callers))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(flight) == 0

    asyncio.run(play())
