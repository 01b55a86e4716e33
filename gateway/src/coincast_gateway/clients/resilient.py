"""Call the services behind the gateway through a circuit breaker, a concurrency limit and a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import Message

from coincast_chassis import context
from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.errors import CoincastError, Timeout, Unavailable
from coincast_chassis.grpc.error_mapping import without_addresses
from coincast_chassis.resilience.breaker import Breaker, BreakerOpen

Result = TypeVar("Result")
# When a caller of a service that is still starting may come again.
START_RETRY_SECONDS = 2.0


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error counts as a failure for the breaker: a lost connection or a timeout.

    Other errors are answers of a working service.
    """
    return isinstance(error, Unavailable | Timeout)


class ResilientStub:
    """Calls one service through its breaker and concurrency limit.

    Args:
        name: The service, for messages.
        breaker: Pauses calls while the service does not answer.
        deadline_seconds: Time of one call.
        max_calls: Calls in flight at most.
        start_grace_seconds: How long after its first answer, and after it could not be reached, a service
            counts as starting. A late answer is then Unavailable with a time to come again, no Timeout: its
            caches are empty, and the machine is busy with its start.
        clock: Its monotonic time measures the grace.
    """

    def __init__(
        self,
        name: str,
        *,
        breaker: Breaker,
        deadline_seconds: float,
        max_calls: int,
        start_grace_seconds: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self._start_grace_seconds, self._clock = start_grace_seconds, clock or steady_clock()
        # When the service answered first since it could not be reached; None where it has not yet.
        self._answering_since: float | None = None
        self.name = name
        self.breaker = breaker
        self.deadline_seconds = deadline_seconds
        self.max_calls = max_calls
        self.calls_in_flight = 0
        self.calls_refused = 0

    async def call(
        self,
        rpc: Callable[..., Awaitable[Result]],
        request: Message,
        *,
        deadline_seconds: float | None = None,
    ) -> Result:
        """Make a call within the remaining time of the request.

        Args:
            rpc: The method of a gRPC stub.
            request: Its message.
            deadline_seconds: The deadline, if it differs from that of the service.

        Raises:
            Unavailable: The breaker is open, too many calls are in flight, or the service is starting.
            Timeout: The service does not answer in time.
            CoincastError: The service answered with this error.
        """
        seconds = self._seconds(deadline_seconds)
        if self.calls_in_flight >= self.max_calls:
            self.calls_refused += 1
            raise Unavailable(
                f"{self.name} has {self.max_calls} calls to answer already.", retry_after_seconds=1.0
            )
        self.calls_in_flight += 1
        try:
            return self._unwrap(await self._guarded(lambda: self._outcome(rpc(request, timeout=seconds))))
        finally:
            self.calls_in_flight -= 1

    async def _guarded(self, call: Callable[[], Awaitable[Result | CoincastError]]) -> Result | CoincastError:
        """Make a call through the breaker and note whether the service answers."""
        try:
            outcome = await self.breaker.call(call)
        except Timeout as error:
            if not self._is_starting():
                raise
            raise Unavailable(
                f"{self.name} is starting and did not answer in time.",
                retry_after_seconds=START_RETRY_SECONDS,
            ) from error
        except BreakerOpen:
            raise
        except Unavailable:
            self._answering_since = None
            raise
        self._note_answer()
        return outcome

    def _is_starting(self) -> bool:
        since = self._answering_since
        return since is None or self._clock.monotonic() - since < self._start_grace_seconds

    def _note_answer(self) -> None:
        if self._answering_since is None:
            self._answering_since = self._clock.monotonic()

    async def watch(
        self, rpc: Callable[..., AsyncIterable[Result]], request: Message
    ) -> AsyncIterator[Result]:
        """Yield the messages of a stream.

        The breaker applies to the first message, which must arrive within the deadline of a call. The rest of
        the stream has no deadline. A stream may end without a
        message.

        Raises:
            CoincastError: As for `call`, or the stream broke off.
        """
        async with aclosing(aiter(rpc(request))) as stream:  # type: ignore[type-var]  # a channel's streams are generators
            first = await self._guarded(lambda: self._first(_next_or_none(stream)))
            if first is None:
                return
            yield self._unwrap(first)
            try:
                async for message in stream:
                    yield message
            except Unavailable as error:
                raise self._sanitize(error) from error

    async def _first(self, coming: Awaitable[Result | None]) -> Result | CoincastError | None:
        try:
            async with asyncio.timeout(self.deadline_seconds):
                return await self._outcome(coming)
        except TimeoutError as error:
            raise Timeout(f"{self.name} did not begin to answer in time.") from error

    async def probe(
        self, rpc: Callable[..., Awaitable[Result]], request: Message, *, deadline_seconds: float
    ) -> Result:
        """Call a health probe without the breaker, which failed probes would otherwise open for requests."""
        reply = await self._plain_errors(rpc(request, timeout=self._seconds(deadline_seconds)))
        self._note_answer()
        return reply

    async def _outcome(self, call: Awaitable[Result]) -> Result | CoincastError:
        """Return the response of the service, or the error that it answered with.

        The breaker counts both as successes; an error without an answer is raised.
        """
        try:
            return await self._plain_errors(call)
        except CoincastError as error:
            if error.answered:
                return error
            raise

    def _unwrap(self, outcome: Result | CoincastError) -> Result:
        if isinstance(outcome, CoincastError):
            raise outcome
        return outcome

    async def _plain_errors(self, call: Awaitable[Result]) -> Result:
        try:
            return await call
        except Unavailable as error:
            raise self._sanitize(error) from error

    def _sanitize(self, error: Unavailable) -> Unavailable:
        return without_addresses(error, f"{self.name} does not answer.")

    def _seconds(self, deadline_seconds: float | None) -> float:
        seconds = deadline_seconds or self.deadline_seconds
        left = context.remaining_seconds()
        if left is not None:
            seconds = min(seconds, left)
        if seconds <= 0:
            raise Timeout(f"No time was left to call {self.name}.")
        return seconds


async def _next_or_none(stream: AsyncIterator[Result]) -> Result | None:
    """Return the next message; None where the stream has ended."""
    return await anext(stream, None)
