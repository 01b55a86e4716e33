"""Every word with Redis goes through this gate: at most 50 ms lost, then Redis is left alone for a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.exceptions
import structlog

from coincast_market_data import metrics

T = TypeVar("T")
log = structlog.get_logger(__name__)
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


class RedisGate:
    """Runs commands in tasks of their own, so that no cancelled caller leaves a reply in a shared
    connection.
    """

    def __init__(
        self,
        *,
        patience_seconds: float = 0.05,
        leave_alone_seconds: float = 1.0,
        longest_seconds: float = 1.0,
    ) -> None:
        self._patience = patience_seconds
        self._leave_alone = leave_alone_seconds
        self._longest = longest_seconds
        self._streak = 0
        self.was_late = False
        self._down_until = 0.0
        self._running: set[asyncio.Task[object]] = set()
        self.up = True
        self.errors = 0

    async def ask(self, what: str, command: Callable[[], Awaitable[T]]) -> T | None:
        """The command's result, or None where Redis is down, late or answers garbage."""
        if time.monotonic() < self._down_until:
            return None
        task = asyncio.ensure_future(command())
        self._running.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            self._failed(what, "late")
            return None
        error = asyncio.InvalidStateError() if task.cancelled() else task.exception()
        if error is None:
            self._answered()
            return task.result()
        if not isinstance(error, FAILURES):
            raise error
        if isinstance(error, redis.exceptions.ResponseError):
            self._refused(what, error)
        else:
            self._failed(what, type(error).__name__)
        return None

    def _refused(self, what: str, error: redis.exceptions.ResponseError) -> None:
        """It answers, with an error (full, read-only, busy with a script): reads may still work."""
        self.errors += 1
        metrics.REDIS_ERRORS.labels(operation=what, reason=type(error).__name__).inc()

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # a late failure was counted as late already

    def _answered(self) -> None:
        if not self.up:
            log.info("redis answers again")
        self.up, self._streak = True, 0

    def _failed(self, what: str, reason: str) -> None:
        self.errors += 1
        metrics.REDIS_ERRORS.labels(operation=what, reason=reason).inc()
        if self.up:
            log.warning("redis does not answer; going on without it", operation=what, reason=reason)
        self.up = False
        self.was_late = reason in ("late", "TimeoutError")
        self._down_until = time.monotonic() + min(self._longest, self._leave_alone * 2**self._streak)
        self._streak = min(self._streak + 1, 10)

    async def aclose(self) -> None:
        """Wait for what is still in flight; each command bounds itself."""
        await asyncio.gather(*self._running, return_exceptions=True)
