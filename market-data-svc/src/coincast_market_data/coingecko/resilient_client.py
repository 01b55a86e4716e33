"""Resilient upstream client: request coalescing, retries, breaker and rate limiter, in this order.

Retries have full jitter, and a budget that is a share of the first attempts. Each group of CoinGecko's
endpoints has its own breaker, so that failing charts do not block prices.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Timeout, Unavailable
from coincast_chassis.observability.metrics import watch_breaker
from coincast_chassis.resilience.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerOpen
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_market_data import metrics
from coincast_market_data.coingecko.error_mapping import (
    DEFAULT_RETRY_AFTER_SECONDS,
    TRANSIENT,
    BadData,
    BeyondPlanReach,
    Cause,
    UpstreamAvailability,
    UpstreamFailure,
)
from coincast_market_data.ports import Priority, Upstream, UpstreamReply, UpstreamRequest
from coincast_market_data.rate_limit.limiter import RateLimiter
from coincast_market_data.settings import Settings

log = structlog.get_logger(__name__)
# A retry waits for a random part of a step, which doubles with each attempt from the first to the longest
# step.
BASE_SECONDS = 0.25
LONGEST_SECONDS = 4.0
# Groups of endpoints with a breaker each.
GROUPS = ("prices", "markets", "lists", "series", "coin", "other")
STATE_NUMBERS = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
# Bulk work may be queued by the rate limiter for this long. Other calls are refused earlier, with a
# Retry-After.
BULK_WAIT_SECONDS = 120.0
BULK_PRIORITIES = (Priority.BULK, Priority.BACKFILL)
# Minimum pause after a 429, even if Retry-After is 0.
LEAST_PAUSE_SECONDS = 1.0


class RetryBudget:
    """Retry budget: each first attempt adds `share` of a retry.

    Args:
        share: Retries per first attempt.
        most_saved: The most retries that can be saved, which bounds the burst of retries in an outage.
    """

    def __init__(self, share: float, *, most_saved: float = 5.0) -> None:
        self._share = share
        self._most_saved = most_saved
        # One retry is saved at the start, so that the first call can be retried.
        self._saved = min(1.0, most_saved) if share > 0 else 0.0

    def add_first_attempt(self) -> None:
        """Count a first attempt."""
        self._saved = min(self._most_saved, self._saved + self._share)

    def spend(self) -> bool:
        """Return whether one more retry is within the budget, and take it from the budget if so."""
        if self._saved < 1.0 - 1e-9:
            return False
        self._saved -= 1.0
        return True


def worth_retrying(error: CoincastError) -> bool:
    """Return whether a retry may succeed: not after a refusal, a limit, or an unusable body."""
    if isinstance(error, UpstreamFailure):
        return error.cause in TRANSIENT
    return isinstance(error, Unavailable | Timeout) and not isinstance(error, BadData | BreakerOpen)


def backoff_seconds(attempt: int, rand: float) -> float:
    """Return the pause before a retry with full jitter: between zero and the step of the attempt.

    Args:
        attempt: The number of the attempt that failed, from 1.
        rand: A random number in [0, 1).
    """
    return float(rand * min(LONGEST_SECONDS, BASE_SECONDS * 2**attempt))


class Breakers:
    """The breakers by group, each with the reason of its last failure and the number of times it opened."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._breakers = {group: self._make(group, settings, clock) for group in GROUPS}
        self._reasons = dict.fromkeys(GROUPS, "")
        self._kinds = dict.fromkeys(GROUPS, "none")
        self._opened = dict.fromkeys(GROUPS, 0)
        for group in GROUPS:
            metrics.BREAKER_STATE.labels(breaker=group).set(0)

    def of(self, group: str) -> Breaker:
        """Return the breaker of a group; unknown groups share one."""
        return self._breakers.get(group, self._breakers["other"])

    def note(self, group: str, reason: str, kind: str) -> None:
        """Record why a call failed.

        Args:
            group: The group of the request.
            reason: A sentence for the status report.
            kind: A label for the metrics, from a fixed set.
        """
        known = group if group in self._reasons else "other"
        self._reasons[known], self._kinds[known] = reason, kind

    def each(self) -> Iterable[tuple[str, Breaker, str, int]]:
        """Yield (group, breaker, reason of the last failure, times opened)."""
        for group, breaker in self._breakers.items():
            reason = self._reasons[group] if breaker.state != CLOSED else ""
            yield group, breaker, reason, self._opened[group]

    def _make(self, group: str, settings: Settings, clock: Clock) -> Breaker:
        return Breaker(
            group,
            fail_max=settings.breaker_failures,
            reset_seconds=settings.breaker_reset_seconds,
            min_calls=settings.breaker_min_calls,
            probe_seconds=settings.breaker_probe_seconds,
            clock=clock,
            listeners=(watch_breaker, self._state_changed),
        )

    def _state_changed(self, name: str, before: str, to: str) -> None:
        metrics.BREAKER_STATE.labels(breaker=name).set(STATE_NUMBERS[to])
        metrics.BREAKER_TRANSITIONS.labels(breaker=name, to=to, reason=self._kinds[name]).inc()
        self._opened[name] += to == OPEN
        log.warning("breaker_state_changed", breaker=name, before=before, to=to, reason=self._reasons[name])


class ResilientUpstream:
    """CoinGecko client with rate limiter, circuit breakers and retries.

    Every fetch runs in a task of its own, so a cancelled caller does not end it for the others.

    Args:
        inner: The client that makes one attempt.
        limiter: The rate limiter.
        breakers: The circuit breakers.
        budget: The retry budget.
        max_attempts: The most attempts of one call.
        retry_seconds: The time after which no further attempt is made.
        quota_wait_seconds: How long a call may be queued by the rate limiter; bulk work may wait longer.
        availability: Receives the outcome of each attempt.
        rand: Returns a random number in [0, 1) for the jitter.
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
        """Fetch one document; equal requests in flight share one call.

        Raises:
            CoincastError: The upstream failed, or the rate limiter or a breaker refused the call.
        """
        self._availability.check(request)
        # The key has the priority, since a caller must not be queued like a backfill with the same request.
        key = (request, request.priority)
        return await self._flights.do(key, lambda: self._with_retries(request))

    def current(self) -> str:
        """Return the most urgent fetch in progress, as `history of bitcoin`; empty if there is none."""
        request = min(self._under_way.values(), key=lambda found: found.priority, default=None)
        if request is None:
            return ""
        parts = request.path.split("/")
        if request.group == "series" and len(parts) > 1:
            return f"history of {parts[1]}"
        return request.path

    async def _with_retries(self, request: UpstreamRequest) -> UpstreamReply:
        self._budget.add_first_attempt()
        number = next(self._numbers)
        self._under_way[number] = request
        try:
            return await self._attempt_repeatedly(request)
        finally:
            del self._under_way[number]

    async def _attempt_repeatedly(self, request: UpstreamRequest) -> UpstreamReply:
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

        async def fetch() -> UpstreamReply:
            return await self._fetch_recorded(request)

        with self._exclusive_probe(breaker):
            await self._acquire(request.priority)
            try:
                return await breaker.call(fetch)
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
        """Wait for the rate limiter; if failing calls used up the limit, raise their error instead."""
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
        """Admit one probe at a time to a breaker that is not closed.

        Other calls are refused before they acquire the rate limiter, since they would use up the quota.

        Raises:
            BreakerOpen: The breaker is open, or another probe is running.
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

    async def _fetch_recorded(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch, and record the outcome in metrics, breaker and availability."""
        try:
            reply = await self._fetch_uncancelled(request)
        except CoincastError as error:
            outcome = outcome_of(error)
            metrics.UPSTREAM_CALLS.labels(group=request.group, outcome=outcome).inc()
            self._breakers.note(request.group, error.message, outcome)
            self._availability.record_failure(error, request)
            if isinstance(error, BeyondPlanReach):
                self._availability.hold_request(request, error)
            raise
        self._availability.record_success()
        metrics.UPSTREAM_CALLS.labels(group=request.group, outcome="ok").inc()
        metrics.UPSTREAM_SECONDS.labels(group=request.group).observe(reply.seconds)
        return reply

    async def _fetch_uncancelled(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch; a cancellation inside the client becomes a Timeout and does not cancel all callers."""
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
        """Cancel the fetches in flight."""
        self._closing = True
        await self._flights.aclose()


def outcome_of(error: CoincastError) -> str:
    """Return the metrics label of a failed upstream call."""
    if isinstance(error, UpstreamFailure) and error.cause is Cause.TIMEOUT:
        return "timeout"
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
