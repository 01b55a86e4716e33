"""Resilient upstream client, in order: request coalescing, retries, breaker, rate limiter, client."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Timeout, Unavailable
from coincast_chassis.resilience.breaker import CLOSED, Breaker, BreakerOpen
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_market_data import metrics
from coincast_market_data.coingecko.availability import UpstreamAvailability
from coincast_market_data.coingecko.breakers import Breakers
from coincast_market_data.coingecko.retry_after import DEFAULT_RETRY_AFTER_SECONDS
from coincast_market_data.coingecko.retry_policy import RetryBudget, backoff_seconds, worth_retrying
from coincast_market_data.ports import Priority, Upstream, UpstreamReply, UpstreamRequest
from coincast_market_data.rate_limit.limiter import RateLimiter

# Bulk work may queue for the rate limit for this long; a caller gets a Retry-After instead.
BULK_WAIT_SECONDS = 120.0
BULK_PRIORITIES = (Priority.BULK, Priority.BACKFILL)
# Minimum pause after a 429, even if Retry-After is 0.
LEAST_PAUSE_SECONDS = 1.0
log = structlog.get_logger(__name__)


class ResilientUpstream:
    """CoinGecko client with rate limiter, circuit breakers and retries.

    Every fetch runs in a task of its own: a cancelled caller neither ends it nor holds its connection.
    """

    def __init__(
        self,
        inner: Upstream,
        *,
        limiter: RateLimiter,
        breakers: Breakers,
        budget: RetryBudget,
        max_attempts: int,
        retry_seconds: float,
        quota_wait_seconds: float,
        availability: UpstreamAvailability,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._limiter = limiter
        self._breakers = breakers
        self._budget = budget
        self._availability = availability
        self._max_attempts = max_attempts
        self._retry_seconds = retry_seconds
        self._quota_wait = {
            priority: BULK_WAIT_SECONDS if priority in BULK_PRIORITIES else quota_wait_seconds
            for priority in Priority
        }
        self._rand = rand
        self._probing: set[str] = set()
        self._under_way: dict[int, UpstreamRequest] = {}
        self._numbers = itertools.count()
        self._closing = False
        self._flights: SingleFlight[tuple[UpstreamRequest, Priority], UpstreamReply] = SingleFlight()

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch one document; equal requests in flight share it."""
        # A caller must not queue behind a backfill that requested the same.
        self._availability.check()
        key = (request, request.priority)
        return await self._flights.do(key, lambda: self._with_retries(request))

    def current(self) -> str:
        """Return the most urgent fetch under way, as in `history of bitcoin`; empty where there is none."""
        request = min(self._under_way.values(), key=lambda found: found.priority, default=None)
        if request is None:
            return ""
        parts = request.path.split("/")
        if request.group == "series" and len(parts) > 1:
            return f"history of {parts[1]}"
        return request.path

    async def _with_retries(self, request: UpstreamRequest) -> UpstreamReply:
        self._budget.first_call()
        number = next(self._numbers)
        self._under_way[number] = request
        try:
            return await self._until_done(request)
        finally:
            del self._under_way[number]

    async def _until_done(self, request: UpstreamRequest) -> UpstreamReply:
        give_up = time.monotonic() + self._retry_seconds
        attempt = 1
        while True:
            try:
                return await self._attempt(request)
            except CoincastError as error:
                pause = backoff_seconds(attempt, self._rand())
                late = time.monotonic() + pause > give_up
                if late or attempt >= self._max_attempts or not worth_retrying(error):
                    raise
                if not self._budget.spend():
                    raise
                metrics.RETRIES.labels(group=request.group).inc()
                await asyncio.sleep(pause)
                attempt += 1

    async def _attempt(self, request: UpstreamRequest) -> UpstreamReply:
        breaker = self._breakers.of(request.group)

        async def go() -> UpstreamReply:
            return await self._counted(request)

        with self._exclusive_probe(breaker):
            await self._acquire(request.priority)
            try:
                return await breaker.call(go)
            except Exhausted as error:
                metrics.QUOTA_PAUSES.inc()
                retry_after = (
                    DEFAULT_RETRY_AFTER_SECONDS
                    if error.retry_after_seconds is None
                    else error.retry_after_seconds
                )
                await self._limiter.refused(max(LEAST_PAUSE_SECONDS, retry_after))
                raise

    async def _acquire(self, priority: Priority) -> None:
        """Wait for the rate limiter; where failing calls used up the limit, raise what they failed with."""
        try:
            await self._limiter.acquire(priority, self._quota_wait[priority])
        except Exhausted as error:
            failure = self._availability.failure()
            if failure is None:
                raise
            failure.retry_after_seconds = error.retry_after_seconds
            raise failure from error

    @contextmanager
    def _exclusive_probe(self, breaker: Breaker) -> Iterator[None]:
        """Let one probe at a time through a breaker that is not closed.

        Calls that the breaker would refuse must not use up the quota.
        """
        if breaker.state == CLOSED:
            yield
            return
        wait = breaker.retry_after_seconds
        if wait > 0 or breaker.name in self._probing:
            failure = self._availability.failure()
            reason = f": {failure.message}" if failure else ""
            raise BreakerOpen(
                f"CoinGecko failed repeatedly; calls are paused for now{reason}",
                retry_after_seconds=wait or 1.0,
            )
        self._probing.add(breaker.name)
        try:
            yield
        finally:
            self._probing.discard(breaker.name)

    async def _counted(self, request: UpstreamRequest) -> UpstreamReply:
        try:
            reply = await self._whole(request)
        except CoincastError as error:
            outcome = outcome_of(error)
            metrics.UPSTREAM_CALLS.labels(group=request.group, outcome=outcome).inc()
            self._breakers.note(request.group, error.message, outcome)
            self._availability.record_failure(error)
            raise
        self._availability.record_success()
        metrics.UPSTREAM_CALLS.labels(group=request.group, outcome="ok").inc()
        metrics.UPSTREAM_SECONDS.labels(group=request.group).observe(reply.seconds)
        return reply

    async def _whole(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch; a cancellation from inside the client must not cancel all callers of the flight."""
        try:
            return await self._inner.fetch(request)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._closing or task is None:
                raise
            while task.uncancel():
                pass
            log.warning("fetch_cancelled_internally", path=request.path, exc_info=error)
            raise Timeout(f"the call for {request.path} was cut off") from error

    async def aclose(self) -> None:
        """End what is in flight."""
        self._closing = True
        await self._flights.aclose()


def outcome_of(error: CoincastError) -> str:
    """Return a bounded label for an upstream call that failed."""
    for kind, label in (
        (Exhausted, "limited"),
        (NotFound, "not_found"),
        (InvalidInput, "refused"),
        (Timeout, "timeout"),
        (Unavailable, "failed"),
    ):
        if isinstance(error, kind):
            return label
    return "failed"
