"""Tasks end for certain: those whose library swallows a cancellation, those that clean up, ended ones."""

from __future__ import annotations

import asyncio

import pytest

from coincast_chassis.resilience.background_tasks import BackgroundTasks
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_chassis.resilience.single_flight import SingleFlight

SOON = 0.01


async def deaf(times: int) -> None:
    """Run on after the first cancellations, as a loop around `asyncio.wait_for` of Python 3.11 may."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()


async def failing() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("on the way out")


@pytest.mark.parametrize("times", [0, 1, 5])
async def test_a_swallowed_cancellation_is_repeated(times: int) -> None:
    task = asyncio.create_task(deaf(times))
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel_and_wait({task}, again_after_seconds=SOON), 10)
    assert task.cancelled()


async def test_many_tasks_of_all_kinds_end_and_nothing_is_raised() -> None:
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    tasks = [ended, *(asyncio.create_task(work) for work in (deaf(0), deaf(3), failing(), asyncio.sleep(60)))]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel_and_wait(tasks, again_after_seconds=SOON), 10)
    assert all(task.done() for task in tasks)
    await cancel_and_wait(())


async def test_what_a_task_does_on_its_cancellation_is_not_interrupted() -> None:
    stored: list[str] = []

    async def storing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5 * SOON)
            stored.append("state")

    task = asyncio.create_task(storing())
    await asyncio.sleep(0)
    await cancel_and_wait({task})
    assert stored == ["state"]


@pytest.mark.slow
async def test_groups_and_flights_close_although_a_task_is_deaf() -> None:
    tasks = BackgroundTasks("test")
    tasks.start("deaf", deaf(1))
    flights: SingleFlight[str, None] = SingleFlight()
    waiting = asyncio.create_task(flights.do("key", lambda: deaf(1)))
    await asyncio.sleep(SOON)
    await asyncio.wait_for(asyncio.gather(tasks.aclose(), flights.aclose()), 30)
    await asyncio.wait({waiting}, timeout=10)
    assert (len(tasks), waiting.done()) == (0, True)
