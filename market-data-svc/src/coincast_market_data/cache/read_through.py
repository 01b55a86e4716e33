"""Read-through cache: a document comes from the cache while it is fresh, otherwise from one shared fetch.

A request that the upstream refuses costs one upstream call per window (`NegativeCache`). A caller waits for a
fetch within its own deadline, and only briefly if there is a cached value that it can be served.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import TTLCache

from coincast_chassis import context
from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Unavailable
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_market_data import metrics
from coincast_market_data.cache.freshness import Freshness, classify
from coincast_market_data.cache.two_level import CacheEntry, KeyLeases, TwoLevelCache
from coincast_market_data.coingecko.error_mapping import BadData, UnconfirmedData
from coincast_market_data.domain import Provenance, Source
from coincast_market_data.ports import CallQueue, DataClock, NoCallQueue, Priority

K = TypeVar("K", bound=Hashable)
MAX_ENTRIES = 20_000


class NegativeCache(Generic[K]):
    """Cache of errors by request.

    Only errors that are about the request itself are stored. If the upstream is unavailable or limits calls,
    the circuit breaker and the rate limiter apply, which detect its recovery sooner.

    Args:
        clock: Its monotonic time measures the age of entries.
        seconds: How long an error is stored.
        max_entries: The most errors.
    """

    def __init__(self, clock: Clock, seconds: float, *, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._errors: TTLCache[K, tuple[CoincastError, float]] = TTLCache(
            max_entries, ttl=seconds, timer=clock.monotonic
        )
        self._seconds = seconds

    def remember(self, key: K, error: CoincastError) -> None:
        """Store an error, if the same request would fail again with it."""
        if isinstance(error, NotFound | InvalidInput | BadData | UnconfirmedData):
            self._errors[key] = (error, self._clock.monotonic() + self._seconds)

    def find(self, key: K) -> CoincastError | None:
        """Return the stored error of a request with the time until the next upstream call, or None."""
        found = self._errors.get(key)
        if found is None:
            return None
        error, until = found
        if isinstance(error, Unavailable):
            error.retry_after_seconds = max(1.0, until - self._clock.monotonic())
        return error.with_traceback(None)

    def forget(self, key: K) -> None:
        """Drop the error of a request that succeeded."""
        self._errors.pop(key, None)


# A caller that can be served a cached value waits at most this long for a newer one.
WITH_FALLBACK_SECONDS = 1.5
WITHOUT_DEADLINE_SECONDS = 30.0
# The part of the deadline that is reserved for sending the response, also on a busy machine.
RESERVE_SECONDS = 0.2
RESERVE_SHARE = 0.1


def wait_budget_seconds(*, fallback: bool) -> float:
    """Return how many seconds a caller may wait for a fetch.

    Args:
        fallback: Whether the caller can be served a cached value instead, so that it waits only briefly.
    """
    left = context.remaining_seconds()
    most = (
        WITHOUT_DEADLINE_SECONDS if left is None else max(0.05, left * (1 - RESERVE_SHARE) - RESERVE_SECONDS)
    )
    return min(most, WITH_FALLBACK_SECONDS) if fallback else most


# When the answer of a slow upstream is likely to be there.
LATE_RETRY_SECONDS = 2.0


def late_error(seconds_to_turn: float | None) -> Unavailable:
    """Return the error for a caller whose time is up while the fetch continues; a retry finds the answer.

    Args:
        seconds_to_turn: Seconds until the next call that the rate limiter has queued may start. None means
            that no call is queued, so CoinGecko itself is slow.
    """
    if seconds_to_turn is None:
        return Unavailable(
            "CoinGecko did not answer in time. Repeat the request in a few seconds: its answer is cached.",
            retry_after_seconds=LATE_RETRY_SECONDS,
        )
    return Unavailable(
        "The calls of the plan at CoinGecko are used up for now; a later answer is cached for the next one",
        retry_after_seconds=max(1.0, seconds_to_turn),
    )


T = TypeVar("T")
# The longest time for which a document that the upstream refuses or lacks is not requested again.
LONGEST_REFUSAL_SECONDS = 60.0
MAX_REFUSALS = 5000


@dataclass(frozen=True, slots=True)
class FetchResult(Generic[T]):
    """The result of a fetch; `fetched_at` in UNIX seconds on the upstream's clock."""

    value: T
    fetched_at: float
    seconds: float


# Fetches a document at a priority.
Fetch = Callable[[Priority], Awaitable[FetchResult[T]]]
# The priority of a fetch, and its result.
FetchOutcome = tuple[Priority, CacheEntry[T] | Exhausted]


@dataclass(frozen=True, slots=True)
class ServedValue(Generic[T]):
    """A value with its provenance and the seconds for which it stays fresh."""

    value: T
    provenance: Provenance
    fresh_for_seconds: float


class ReadThrough(Generic[T]):
    """Read-through cache of one kind of document.

    Args:
        cache: The two-level cache.
        clock: The clock of freshness windows.
        data_clock: The upstream's clock, for `as_of`.
        sandbox: Whether the upstream is a sandbox.
        rand: Returns a random number in [0, 1) for early refreshes.
        sharing: The leases by which replicas fetch a key only once.
        queue: The calls that wait for the rate limit.
    """

    def __init__(
        self,
        cache: TwoLevelCache[T],
        *,
        clock: Clock,
        data_clock: DataClock,
        sandbox: bool,
        rand: Callable[[], float] = random.random,
        sharing: KeyLeases[T] | None = None,
        queue: CallQueue | None = None,
    ) -> None:
        self._queue = queue or NoCallQueue()
        self._cache = cache
        self._sharing = sharing or KeyLeases(cache)
        self._clock = clock
        self._data_clock = data_clock
        self._sandbox = sandbox
        self._rand = rand
        self._flights: SingleFlight[str, FetchOutcome[T]] = SingleFlight()
        # Refreshes in the background.
        self._refreshes: set[asyncio.Task[object]] = set()
        self._refused: NegativeCache[str] = NegativeCache(
            clock, min(cache.kind.windows.fresh, LONGEST_REFUSAL_SECONDS), max_entries=MAX_REFUSALS
        )

    async def get(self, key: str, fetch: Fetch[T], max_age_seconds: float | None = None) -> ServedValue[T]:
        """Return the document; a stale one only while it is fetched again, or if the fetch failed.

        Args:
            key: The key of the document.
            fetch: Fetches the document at a priority.
            max_age_seconds: The maximum accepted age; None for any.

        Raises:
            CoincastError: The fetch failed, and there is no cached document that can be served.
        """
        entry = (await self._cache.read([key], max_age_seconds)).get(key)
        freshness = self._freshness(entry)
        if entry is not None and self._new_enough(entry, max_age_seconds):
            if freshness is Freshness.FRESH:
                return self._answer(entry)
            if freshness in (Freshness.FRESH_REFRESH, Freshness.STALE_REFRESH):
                self._refresh_in_background(key, fetch)
                return self._answer(entry, reason="a newer document is being fetched")
        fallback = entry is not None and freshness is not Freshness.GONE
        refused = self._refused.find(key)
        if isinstance(refused, NotFound):
            raise refused
        if refused is not None:
            return self._fallback(entry, freshness, max_age_seconds, refused)
        try:
            async with asyncio.timeout(wait_budget_seconds(fallback=fallback)):
                return self._answer(await self._fetch(key, fetch, Priority.LIVE), live=True)
        except TimeoutError:
            late = late_error(self._queue.seconds_to_turn(Priority.LIVE))
            return self._fallback(entry, freshness, max_age_seconds, late)
        except NotFound:
            raise
        except CoincastError as error:
            return self._fallback(entry, freshness, max_age_seconds, error)

    def _fallback(
        self, entry: CacheEntry[T] | None, freshness: Freshness, max_age: float | None, error: CoincastError
    ) -> ServedValue[T]:
        if entry is None or freshness is Freshness.GONE:
            raise error
        if not self._new_enough(entry, max_age):
            raise _too_old(self._age(entry), max_age, error) from error
        return self._answer(entry, reason=error.message)

    async def refresh(self, key: str, fetch: Fetch[T]) -> None:
        """Fetch the document again, below the priority of callers.

        Args:
            key: The key of the document.
            fetch: Fetches the document at a priority.
        """
        await self._fetch(key, fetch, Priority.REFRESH)

    def _freshness(self, entry: CacheEntry[T] | None) -> Freshness:
        if entry is None:
            return Freshness.GONE
        age, windows = self._cache.age(entry), self._cache.kind.windows
        return classify(age, windows, fetch_seconds=entry.fetch_seconds, rand=1 - self._rand())

    def _age(self, entry: CacheEntry[T]) -> float:
        return max(0.0, self._data_clock.now() - entry.fetched_at)

    def _new_enough(self, entry: CacheEntry[T], max_age: float | None) -> bool:
        return max_age is None or self._age(entry) <= max_age

    async def _fetch(self, key: str, fetch: Fetch[T], priority: Priority) -> CacheEntry[T]:
        """Run one fetch for all concurrent callers.

        The quota may be used up for a fetch of lower priority but not for this caller. A caller that joined
        such a fetch starts another one.
        """
        joined_priority, outcome = await self._join(key, fetch, priority)
        if isinstance(outcome, Exhausted) and joined_priority > priority:
            _, outcome = await self._join(key, fetch, priority)
        if isinstance(outcome, Exhausted):
            raise outcome.with_traceback(None)  # one error is raised for all callers
        return outcome

    async def _join(self, key: str, fetch: Fetch[T], priority: Priority) -> FetchOutcome[T]:
        async def run() -> FetchOutcome[T]:
            try:
                return priority, await self._fetch_one(key, fetch, priority)
            except Exhausted as error:
                return priority, error

        return await self._flights.do(key, run)

    async def _fetch_one(self, key: str, fetch: Fetch[T], priority: Priority) -> CacheEntry[T]:
        from_other_replica = await self._sharing.obtain(key)
        if from_other_replica is not None:
            return from_other_replica
        try:
            fetched = await fetch(priority)
        except BaseException as error:
            self._sharing.release([key])
            if isinstance(error, CoincastError):
                self._refused.remember(key, error)
            raise
        self._refused.forget(key)
        entry = CacheEntry(fetched.value, self._clock.now(), fetched.fetched_at, fetched.seconds)
        self._cache.write({key: entry})
        return entry

    def _refresh_in_background(self, key: str, fetch: Fetch[T]) -> None:
        if self._refused.find(key) is not None:
            return

        async def refresh() -> None:
            try:
                await self.refresh(key, fetch)
            except CoincastError:
                return  # the upstream client has counted it; the next caller starts another refresh

        task = asyncio.create_task(refresh(), context=context.detached())
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    def _answer(self, entry: CacheEntry[T], *, live: bool = False, reason: str = "") -> ServedValue[T]:
        left = self._cache.kind.windows.fresh - self._cache.age(entry)
        stale = not live and left <= 0
        source = Source.LIVE if live else Source.STALE if stale else Source.FRESH
        metrics.CACHE_SERVED.labels(kind=self._cache.kind.name, freshness=source).inc()
        if self._sandbox:
            source = Source.SANDBOX
        provenance = Provenance(entry.fetched_at, self._age(entry), source, stale, reason if stale else "")
        return ServedValue(entry.value, provenance, max(0.0, left))

    async def aclose(self) -> None:
        """Cancel the fetches in flight."""
        await self._flights.aclose()
        await asyncio.gather(*self._refreshes, return_exceptions=True)


def _too_old(age: float, max_age: float | None, met: CoincastError) -> Unavailable:
    return Unavailable(
        f"the newest document is {age:.0f} s old, more than the requested {max_age or 0:g} s ({met.message})",
        field="max_age_seconds",
        retry_after_seconds=met.retry_after_seconds or 5.0,
    )
