"""Fail-fast executor for Redis commands; caps a request's total Redis wait at 50 ms.

A request runs at most three Redis commands (cache, lease, quota), and each may take a third of the wait
budget. The first slow or failed command opens the circuit and releases all waiters. No request uses Redis
again until a background probe is answered in time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis.exceptions
import structlog

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_market_data import metrics

T = TypeVar("T")
Probe = Callable[[], Awaitable[object]]
log = structlog.get_logger(__name__)
COMMANDS_PER_REQUEST = 3
# Event loop iterations after the timeout, in which replies that have arrived already are read. They keep a
# stall of this process from being counted as a failure of Redis.
GRACE_ITERATIONS = 6
# Concurrent commands. Others wait for a slot first; that time is not counted as a delay of Redis.
AT_ONCE = 8
# Fire-and-forget commands in flight; more are dropped and counted.
MOST_SUBMITTED = 500
LONGEST_PAUSE_SECONDS = 1.0
# Errors that the client, its parser and the unpacking of replies raise if Redis is broken or sends garbage.
FAILURES = (
    redis.exceptions.RedisError,
    OSError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    asyncio.InvalidStateError,
)


class RedisExecutor:
    """Runs Redis commands fail-fast.

    Each command runs in a task of its own, so that a cancelled caller leaves no unread reply in a shared
    connection.

    Args:
        probe: Sends a command that returns True if Redis works; without it the circuit closes after a pause.
        wait_budget_seconds: The longest time that one request waits for Redis in total.
        pause_seconds: The time before the first probe; it doubles up to a second.
    """

    def __init__(
        self, probe: Probe | None = None, *, wait_budget_seconds: float = 0.05, pause_seconds: float = 0.05
    ) -> None:
        self._probe = probe
        self._timeout_seconds = wait_budget_seconds / COMMANDS_PER_REQUEST
        self._pause = pause_seconds
        self._running: set[asyncio.Task[object]] = set()
        self._slots, self._submit_slots = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._submitted = 0
        # Completed when the circuit opens, which releases all waiters.
        self._opened: asyncio.Future[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.up = True
        self.errors = 0

    async def execute(self, what: str, command: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of a command, or None if Redis is down, slow or full, or sends garbage.

        Args:
            what: Name of the command for metrics.
            command: Sends the command and returns its result.
        """
        if not self.up:
            return None
        async with self._slots:
            # If the circuit opened meanwhile, all waiters were released, so slots become free at once.
            return await self._execute(what, command) if self.up else None

    async def _execute(self, what: str, command: Callable[[], Awaitable[T]]) -> T | None:
        task = self._start(command)
        in_time = await self._in_time(task)
        if not self.up:
            # Another command opened the circuit meanwhile. The result is used if it has arrived.
            return task.result() if task.done() and not task.cancelled() and not task.exception() else None
        if not in_time:
            self._open_circuit(what, "late")
            return None
        return self._result(what, task)

    def submit(self, what: str, command: Callable[[], Awaitable[object]]) -> None:
        """Run a fire-and-forget command; its failure counts like any other.

        Args:
            what: Name of the command for metrics.
            command: Sends the command.
        """
        if not self.up:
            return
        if self._submitted >= MOST_SUBMITTED:
            self._count_error(what, "too_many")
            return
        self._submitted += 1

        async def run_in_slot() -> object:
            async with self._submit_slots:
                return await command() if self.up else None

        self._start(run_in_slot).add_done_callback(lambda done: self._submitted_done(what, done))

    def _start(self, command: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        async def run() -> T:
            return await command()

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _in_time(self, task: asyncio.Task[T]) -> bool:
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
        both: set[asyncio.Future[Any]] = {task, self._opened}
        await asyncio.wait(both, timeout=self._timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(GRACE_ITERATIONS):
            if task.done():
                break
            await asyncio.sleep(0)
        return task.done()

    def _result(self, what: str, task: asyncio.Task[T]) -> T | None:
        error = asyncio.InvalidStateError() if task.cancelled() else task.exception()
        if error is None:
            return task.result()
        if not isinstance(error, FAILURES):
            raise error
        self._record_failure(what, error)
        return None

    def _submitted_done(self, what: str, task: asyncio.Task[T]) -> None:
        self._submitted -= 1
        error = asyncio.InvalidStateError() if task.cancelled() else task.exception()
        if isinstance(error, FAILURES) and self.up:
            self._record_failure(what, error)

    def _record_failure(self, what: str, error: BaseException) -> None:
        if isinstance(error, redis.exceptions.ResponseError):
            # Redis answered with an error (full, read-only, busy with a script), so reads may still work.
            self._count_error(what, type(error).__name__)
        else:
            self._open_circuit(what, type(error).__name__)

    def _count_error(self, what: str, reason: str) -> None:
        self.errors += 1
        metrics.REDIS_ERRORS.labels(operation=what, reason=reason).inc()

    def _open_circuit(self, what: str, reason: str) -> None:
        self._count_error(what, reason)
        if not self.up:
            return
        log.warning("redis_unavailable", operation=what, reason=reason)
        self.up = False
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        self._opened = None
        self._watch = asyncio.create_task(self._probe_until_answered())

    async def _probe_until_answered(self) -> None:
        pause = self._pause
        while True:
            await asyncio.sleep(pause)
            if await self._probe_succeeds():
                break
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
        self.up = True
        log.info("redis_available")

    async def _probe_succeeds(self) -> bool:
        if self._probe is None:
            return True
        started = time.monotonic()
        try:
            answered = bool(await self._probe())
        except FAILURES:
            return False
        return answered and time.monotonic() - started < max(self._timeout_seconds, self._pause)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # mark it as retrieved; the failure of a slow command was counted already

    async def aclose(self) -> None:
        """Wait for the commands in flight, each of which has the timeout of the client."""
        if self._watch is not None:
            await cancel_and_wait({self._watch})
        await asyncio.gather(*self._running, return_exceptions=True)
