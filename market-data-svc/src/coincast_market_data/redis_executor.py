"""Fail-fast executor for Redis commands; caps a request's total Redis wait at 50 ms.

A request runs at most three Redis commands (cache, lease, quota); each may take a third of the wait
budget. The first slow or failed command opens the circuit and releases all waiters. No request waits for
Redis again until a background probe is answered in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis.exceptions
import structlog

from coincast_market_data import metrics

T = TypeVar("T")
Probe = Callable[[], Awaitable[object]]
log = structlog.get_logger(__name__)
WORDS_A_REQUEST = 3
# Event loop iterations in which replies that have already arrived are read, so that a stall of this
# process is not counted against Redis.
GRACE_TURNS = 6
# Words under way at a time; the others wait for a turn, which is this process' time and not Redis'.
AT_ONCE = 8
# Fire-and-forget commands in flight; more are dropped and counted.
MOST_BEHIND = 500
LONGEST_PAUSE_SECONDS = 1.0
# What a broken or lying Redis has been seen to raise out of the client, its parser and our own unpacking.
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

    Each command has a task of its own, so that a cancelled caller leaves no reply in a shared connection.
    Without a `probe` the executor opens again after a pause.
    """

    def __init__(
        self, probe: Probe | None = None, *, wait_budget_seconds: float = 0.05, pause_seconds: float = 0.05
    ) -> None:
        self._probe = probe
        self._patience = wait_budget_seconds / WORDS_A_REQUEST
        self._pause = pause_seconds
        self._running: set[asyncio.Task[object]] = set()
        self._turns, self._turns_behind = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._behind = 0
        self._fall: asyncio.Future[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.up = True
        self.errors = 0

    async def execute(self, what: str, command: Callable[[], Awaitable[T]]) -> T | None:
        """Return the command's result, or None where Redis is down, late, full or answers garbage.

        Args:
            what: Name of the command for metrics.
            command: Sends the command and returns its result.
        """
        if not self.up:
            return None
        async with self._turns:
            # If the circuit opened meanwhile, all waiters were released, so that slots are free at once.
            return await self._execute(what, command) if self.up else None

    async def _execute(self, what: str, command: Callable[[], Awaitable[T]]) -> T | None:
        task = self._start(command)
        in_time = await self._in_time(task)
        if not self.up:
            # Another command was late meanwhile and opened the circuit; use this answer if it has arrived.
            return task.result() if task.done() and not task.cancelled() and not task.exception() else None
        if not in_time:
            self._failed(what, "late")
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
        if self._behind >= MOST_BEHIND:
            self._count(what, "too_many")
            return
        self._behind += 1

        async def in_turn() -> object:
            async with self._turns_behind:
                return await command() if self.up else None

        self._start(in_turn).add_done_callback(lambda done: self._run_submitted(what, done))

    def _start(self, command: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        async def run() -> T:
            return await command()

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _in_time(self, task: asyncio.Task[T]) -> bool:
        if self._fall is None:
            self._fall = asyncio.get_running_loop().create_future()
        both: set[asyncio.Future[Any]] = {task, self._fall}
        await asyncio.wait(both, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(GRACE_TURNS):
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
        self._note(what, error)
        return None

    def _run_submitted(self, what: str, task: asyncio.Task[T]) -> None:
        self._behind -= 1
        error = asyncio.InvalidStateError() if task.cancelled() else task.exception()
        if isinstance(error, FAILURES) and self.up:
            self._note(what, error)

    def _note(self, what: str, error: BaseException) -> None:
        if isinstance(error, redis.exceptions.ResponseError):
            # It answers, with an error (full, read-only, busy with a script): reads may still work.
            self._count(what, type(error).__name__)
        else:
            self._failed(what, type(error).__name__)

    def _count(self, what: str, reason: str) -> None:
        self.errors += 1
        metrics.REDIS_ERRORS.labels(operation=what, reason=reason).inc()

    def _failed(self, what: str, reason: str) -> None:
        self._count(what, reason)
        if not self.up:
            return
        log.warning("redis_unavailable", operation=what, reason=reason)
        self.up = False
        if self._fall is not None and not self._fall.done():
            self._fall.set_result(None)
        self._fall = None
        self._watch = asyncio.create_task(self._until_it_answers())

    async def _until_it_answers(self) -> None:
        pause = self._pause
        while True:
            await asyncio.sleep(pause)
            if await self._answers():
                break
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
        self.up = True
        log.info("redis_available")

    async def _answers(self) -> bool:
        if self._probe is None:
            return True
        started = time.monotonic()
        try:
            answered = bool(await self._probe())
        except FAILURES:
            return False
        return answered and time.monotonic() - started < max(self._patience, self._pause)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # a late failure was counted as late already

    async def aclose(self) -> None:
        """Wait for what is still in flight; each command bounds itself."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await asyncio.gather(*self._running, return_exceptions=True)
