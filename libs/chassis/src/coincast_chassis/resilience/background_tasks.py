"""Background tasks: named, logged when they fail, cancelled when their component closes.

Use one group per component, and close it with the component:

    async with BackgroundTasks("prices") as tasks:
        tasks.start("refresh", refresh(pairs))                        # once; a failure is logged
        tasks.start_periodic("sample", sample, interval_seconds=30)   # repeatedly; failures are logged

`asyncio.create_task` alone keeps no reference (the task may be collected while it runs), reports a failure
only when it is collected, and passes the deadline of a request on to work that outlives the request.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

from coincast_chassis import context
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.cancellation import cancel_and_wait

Result = TypeVar("Result")
Sleep = Callable[[float], Awaitable[None]]
log = get_logger("coincast.background_tasks")


class BackgroundTasks:
    """A group of background tasks that are cancelled together.

    Args:
        component: Name of the owner; every task is called `<component>.<name>` in logs and in debuggers.
        max_pending: Limit of unfinished tasks; `try_start` refuses above it. None sets no limit.
    """

    def __init__(self, component: str, *, max_pending: int | None = None) -> None:
        self._component = component
        self._max_pending = max_pending
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def pending(self) -> frozenset[asyncio.Task[Any]]:
        """Return the unfinished tasks."""
        return frozenset(self._tasks)

    def start(
        self,
        name: str,
        work: Coroutine[Any, Any, Result],
        *,
        task_context: contextvars.Context | None = None,
        log_failure: bool = True,
    ) -> asyncio.Task[Result]:
        """Start a coroutine as a task.

        Args:
            name: What the task does, as it stands in logs.
            work: The coroutine.
            task_context: Context to run in. The default is a copy of the caller's without its deadline.
            log_failure: False where the caller awaits the task and handles its errors.

        Returns:
            The task. The group holds the reference; the caller may ignore it.

        Raises:
            RuntimeError: The group is closed.
        """
        if self._closed:
            work.close()
            raise RuntimeError(f"{self._component} is closed; {name} cannot start.")
        task = asyncio.get_running_loop().create_task(
            work, name=f"{self._component}.{name}", context=task_context or context.detached()
        )
        self._tasks.add(task)
        task.add_done_callback(self._log_end if log_failure else self._end)
        return task

    def try_start(self, name: str, make_work: Callable[[], Coroutine[Any, Any, Result]]) -> bool:
        """Start `make_work()` unless the group is closed or at its limit; return whether it was started."""
        if self._closed or (self._max_pending is not None and len(self._tasks) >= self._max_pending):
            return False
        self.start(name, make_work())
        return True

    def start_periodic(
        self,
        name: str,
        step: Callable[[], Awaitable[object]],
        *,
        interval_seconds: float,
        first_after_seconds: float | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> asyncio.Task[None]:
        """Run `step` repeatedly; a failed step is logged and the next one runs after the same interval.

        Args:
            name: What the task does, as it stands in logs.
            step: Called for each round.
            interval_seconds: Pause between the end of a step and the next one.
            first_after_seconds: Pause before the first step; the default is `interval_seconds`.
            sleep: Replaced by tests.

        Returns:
            The task.
        """

        async def run() -> None:
            await sleep(interval_seconds if first_after_seconds is None else first_after_seconds)
            while True:
                try:
                    await step()
                except Exception:
                    log.exception("background_step_failed", task=f"{self._component}.{name}")
                await sleep(interval_seconds)

        return self.start(name, run())

    async def join(self) -> None:
        """Wait until all tasks have ended, including those that running tasks start.

        Failures are not raised.
        """
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def aclose(self) -> None:
        """Cancel all tasks and wait for their end. Nothing can be started afterwards."""
        self._closed = True
        await cancel_and_wait(list(self._tasks))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Mark it as retrieved: the caller may have been cancelled meanwhile.

    def _log_end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_task_failed", task=task.get_name(), exc_info=error)
