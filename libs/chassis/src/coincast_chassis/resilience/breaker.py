"""A circuit breaker for asyncio. pybreaker holds the state; `Breaker` admits calls and counts failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import pybreaker

from coincast_chassis.clock import Clock, SystemClock
from coincast_chassis.errors import (
    Conflict,
    Exhausted,
    InvalidInput,
    NotFound,
    NotReady,
    Timeout,
    Unavailable,
)
from coincast_chassis.observability import metrics

T = TypeVar("T")
CLOSED: str = pybreaker.STATE_CLOSED
OPEN: str = pybreaker.STATE_OPEN
HALF_OPEN: str = pybreaker.STATE_HALF_OPEN
Listener = Callable[[str, str, str], None]


class BreakerOpen(Unavailable):
    """The call was not made, because calls to the dependency are paused."""


def is_failure(error: BaseException) -> bool:
    """Return whether an error is a failure of the dependency and not of the request."""
    return not isinstance(error, InvalidInput | NotFound | NotReady | Exhausted | Conflict)


class Breaker:
    """Opens after `fail_max` failures in a row, but not before `min_calls` calls since it closed.

    After `reset_seconds` (monotonic) one probe at a time may pass, for `probe_seconds` at most. If the probe
    succeeds, the breaker closes; if it fails, the breaker opens again. A cancelled call and an error that is
    not a failure of the dependency (`is_failure`) count as neither, because such a call may never have left
    the process. Not safe for use from several threads.

    Until the dependency has answered once, it may be starting, and a probe may pass after
    `starting_reset_seconds`, if that is given.
    """

    def __init__(
        self,
        name: str,
        *,
        fail_max: int = 5,
        reset_seconds: float = 10.0,
        starting_reset_seconds: float | None = None,
        min_calls: int = 5,
        probe_seconds: float = 5.0,
        is_failure: Callable[[BaseException], bool] = is_failure,
        clock: Clock | None = None,
        listeners: Sequence[Listener] = (metrics.watch_breaker,),
    ) -> None:
        self.name = name
        self._min_calls, self._fail_max = min_calls, fail_max
        self._reset_seconds, self._probe_seconds = reset_seconds, probe_seconds
        self._is_failure, self._clock = is_failure, clock or SystemClock()
        self._listeners = listeners
        self._blocks: dict[asyncio.Task[Any] | None, list[AbstractAsyncContextManager[None]]] = {}
        self._machine = pybreaker.CircuitBreaker(fail_max=fail_max, reset_timeout=reset_seconds, name=name)
        metrics.BREAKER_STATE.labels(name).set(0)
        self._starting_reset_seconds = starting_reset_seconds
        self._calls = self._failures = 0
        self._opened_at = 0.0
        self._probe: object | None = None
        self._probe_started = 0.0

    @property
    def state(self) -> str:
        """Return the state: closed, open or half-open."""
        return str(self._machine.current_state)

    @property
    def retry_after_seconds(self) -> float:
        """Return the seconds until a probe may pass; 0 if one may pass now."""
        if self.state != OPEN:
            return 0.0
        starting = self._starting_reset_seconds
        pause = self._reset_seconds if starting is None else min(starting, self._reset_seconds)
        return max(0.0, self._opened_at + pause - self._clock.monotonic())

    async def call(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Await and return `fn()`.

        Raises:
            BreakerOpen: The breaker is open; `fn` was not called.
            Timeout: The call was a probe and exceeded `probe_seconds`.
        """
        # This repeats _passage, which takes three times as long: every call between services runs this code.
        ticket = self._admit()
        try:
            if self._probe is ticket:
                async with self._limit():
                    result = await fn()
            else:
                result = await fn()
        except BaseException as error:
            self._settle(ticket, error)
            raise
        self._settle(ticket, None)
        return result

    async def __aenter__(self) -> None:
        """Admit the block as one call, or raise BreakerOpen."""
        passage = self._passage()
        await passage.__aenter__()
        self._blocks.setdefault(asyncio.current_task(), []).append(passage)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Record whether the block succeeded or failed."""
        task = asyncio.current_task()
        passages = self._blocks[task]
        passage = passages.pop()
        if not passages:
            del self._blocks[task]
        return await passage.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _passage(self) -> AsyncIterator[None]:
        ticket = self._admit()
        try:
            if self._probe is ticket:
                async with self._limit():
                    yield
            else:
                yield
        except BaseException as error:
            self._settle(ticket, error)
            raise
        self._settle(ticket, None)

    @asynccontextmanager
    async def _limit(self) -> AsyncIterator[None]:
        limit = asyncio.timeout(self._probe_seconds)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Timeout(f"{self.name} did not answer a probe within {self._probe_seconds:g} s.") from error

    def _admit(self) -> object:
        ticket = object()
        if self.state == OPEN:
            if self.retry_after_seconds > 0:
                raise self._refusal(self.retry_after_seconds)
            self._move(HALF_OPEN)
        if self.state == HALF_OPEN:
            now = self._clock.monotonic()
            if self._probe is not None and now - self._probe_started < self._probe_seconds:
                raise self._refusal(1.0)
            self._probe, self._probe_started = ticket, now
        return ticket

    def _refusal(self, seconds: float) -> BreakerOpen:
        return BreakerOpen(
            f"{self.name} failed repeatedly; calls are paused for now.", retry_after_seconds=max(seconds, 0.1)
        )

    def _settle(self, ticket: object, error: BaseException | None) -> None:
        was_probe = self._probe is ticket
        if was_probe:
            self._probe = None
        if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt):
            return
        if error is not None and self._is_failure(error):
            self._fail(was_probe)
            return
        # Even an error that is no failure of the dependency is an answer of it.
        self._starting_reset_seconds = None
        if error is None:
            self._succeed(was_probe)

    def _succeed(self, was_probe: bool) -> None:
        if was_probe:
            self._move(CLOSED)
        elif self.state == CLOSED:
            self._calls += 1
            self._failures = 0

    def _fail(self, was_probe: bool) -> None:
        if was_probe:
            self._move(OPEN)
        elif self.state == CLOSED:
            self._calls += 1
            self._failures += 1
            if self._failures >= self._fail_max and self._calls >= self._min_calls:
                self._move(OPEN)

    def _move(self, to: str) -> None:
        before = self.state
        {CLOSED: self._machine.close, OPEN: self._machine.open, HALF_OPEN: self._machine.half_open}[to]()
        if to == OPEN:
            self._opened_at = self._clock.monotonic()
        self._calls = self._failures = 0
        for listener in self._listeners:
            listener(self.name, before, to)
