"""Background tasks: held, named, logged when they fail, cancelled with their group."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from coincast_chassis import context
from coincast_chassis.resilience.background_tasks import BackgroundTasks


async def fail() -> None:
    raise RuntimeError("broken")


async def test_a_failure_is_logged_with_the_name_of_its_task() -> None:
    with capture_logs() as logs:
        async with BackgroundTasks("prices") as tasks:
            tasks.start("refresh", fail())
            await tasks.join()
    assert [(entry["event"], entry["task"]) for entry in logs] == [
        ("background_task_failed", "prices.refresh")
    ]
    assert len(tasks) == 0


async def test_a_failure_that_the_caller_handles_is_not_logged() -> None:
    with capture_logs() as logs:
        async with BackgroundTasks("prices") as tasks:
            task = tasks.start("refresh", fail(), log_failure=False)
            with pytest.raises(RuntimeError, match="broken"):
                await task
    assert logs == []


async def test_closing_cancels_and_waits() -> None:
    ended = asyncio.Event()

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    tasks = BackgroundTasks("prices")
    task = tasks.start("refresh", run())
    await asyncio.sleep(0)
    await tasks.aclose()
    assert (task.cancelled(), ended.is_set(), len(tasks)) == (True, True, 0)
    with pytest.raises(RuntimeError, match="prices is closed; refresh cannot start"):
        tasks.start("refresh", run())


async def test_a_task_outlives_the_deadline_of_the_request_that_started_it() -> None:
    async def remaining() -> tuple[float | None, str]:
        return context.remaining_seconds(), context.request_id()

    async with BackgroundTasks("prices") as tasks:
        with context.bind(request_id="r1", deadline_seconds=5):
            task = tasks.start("refresh", remaining())
        assert await task == (None, "r1")


async def test_a_group_at_its_limit_refuses_more() -> None:
    async def run() -> None:
        await asyncio.Event().wait()

    async with BackgroundTasks("prices", max_pending=2) as tasks:
        assert [tasks.try_start("refresh", run) for _ in range(3)] == [True, True, False]
    assert not tasks.try_start("refresh", run)


async def test_a_periodic_task_survives_a_failed_step() -> None:
    pauses: list[float] = []
    steps = 0

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise asyncio.CancelledError

    async def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            raise OSError("disk full")

    with capture_logs() as logs:
        async with BackgroundTasks("trends") as tasks:
            tasks.start_periodic("sample", step, interval_seconds=30, first_after_seconds=1, sleep=sleep)
            await tasks.join()
    assert (pauses, steps) == ([1, 30, 30, 30], 3)
    assert [entry["event"] for entry in logs] == ["background_step_failed"]
