"""Read-through cache: a document comes from the cache while fresh, otherwise from one shared fetch.

A request that the upstream refuses costs one upstream call per window (`NegativeCache`). A caller waits for
a fetch within its own deadline, and only briefly where it can be served from the cache.
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
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Timeout, Unavailable
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_market_data import metrics
from coincast_market_data.cache.freshness import Freshness, classify
from coincast_market_data.cache.two_level import CacheEntry, KeyLeases, TwoLevelCache
from coincast_market_data.coingecko.error_mapping import BadData, UnconfirmedData
from coincast_market_data.domain import Provenance, Source
from coincast_market_data.ports import DataClock, Priority

K = TypeVar("K", bound=Hashable)
MAX_ENTRIES = 20_000


class NegativeCache(Generic[K]):
    """Errors by request, bounded, for `seconds` of monotonic time.

    Only errors of the request itself are stored. For an upstream that is away or limits calls there are the
    circuit breaker and the rate limiter, which notice sooner when it is back.
    """

    def __init__(self, clock: Clock, seconds: float, *, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._errors: TTLCache[K, tuple[CoincastError, float]] = TTLCache(
            max_entries, ttl=seconds, timer=clock.monotonic
        )
        self._seconds = seconds

    def remember(self, key: K, error: CoincastError) -> None:
        """Store an error that the same request would meet again."""
        if isinstance(error, NotFound | InvalidInput | BadData | UnconfirmedData):
            self._errors[key] = (error, self._clock.monotonic() + self._seconds)

    def find(self, key: K) -> CoincastError | None:
        """Return the error of an earlier request, with the time until the next upstream call."""
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


# A caller with a cached value waits only briefly for a newer one.
WITH_FALLBACK_SECONDS = 1.5
WITHOUT_DEADLINE_SECONDS = 30.0
# What is left of the deadline for the way back, on a busy machine too.
RESERVE_SECONDS = 0.2
RESERVE_SHARE = 0.1


def wait_budget_seconds(*, fallback: bool) -> float:
    """Return the seconds to wait within the caller's own deadline; few where there is a fallback."""
    left = context.remaining_seconds()
    most = (
        WITHOUT_DEADLINE_SECONDS if left is None else max(0.05, left * (1 - RESERVE_SHARE) - RESERVE_SECONDS)
    )
    return min(most, WITH_FALLBACK_SECONDS) if fallback else most


def late_error(seconds_to_turn: float | None) -> CoincastError:
    """Return the error for a caller whose time is up while the fetch goes on.

    Args:
        seconds_to_turn: When the next call that waits for the rate limit may start; None where none waits, so
            that CoinGecko itself is slow.
    """
    if seconds_to_turn is None:
        return Timeout("CoinGecko did not answer in time; the answer is kept for the next caller")
    return Unavailable(
        "The calls of the plan at CoinGecko are used up for now; the answer is kept for the next caller",
        retry_after_seconds=max(1.0, seconds_to_turn),
    )


T = TypeVar("T")
# How long a document that the upstream refuses or lacks is not requested again.
LONGEST_REFUSAL_SECONDS = 60.0
MAX_REFUSALS = 5000


@dataclass(frozen=True, slots=True)
class FetchResult(Generic[T]):
    """The result of a fetch; `fetched_at` in UNIX seconds on the upstream's clock."""

    value: T
    fetched_at: float
    seconds: float


Fetch = Callable[[Priority], Awaitable[FetchResult[T]]]
# The priority of a fetch, and its result.
Tried = tuple[Priority, CacheEntry[T] | Exhausted]


@dataclass(frozen=True, slots=True)
class ServedValue(Generic[T]):
    """A value, its provenance, and how long it stays fresh."""

    value: T
    provenance: Provenance
    fresh_for_seconds: float


class ReadThrough(Generic[T]):
    """The cache of one kind of document, with its fetch function."""

    def __init__(
        self,
        cache: TwoLevelCache[T],
        *,
        clock: Clock,
        data_clock: DataClock,
        sandbox: bool,
        rand: Callable[[], float] = random.random,
        sharing: KeyLeases[T] | None = None,
        seconds_to_turn: Callable[[Priority], float | None] = lambda _priority: None,
    ) -> None:
        self._seconds_to_turn = seconds_to_turn
        self._cache = cache
        self._sharing = sharing or KeyLeases(cache)
        self._clock = clock
        self._data_clock = data_clock
        self._sandbox = sandbox
        self._rand = rand
        self._flights: SingleFlight[str, Tried[T]] = SingleFlight()
        self._behind: set[asyncio.Task[object]] = set()
        self._refused: NegativeCache[str] = NegativeCache(
            clock, min(cache.kind.windows.fresh, LONGEST_REFUSAL_SECONDS), max_entries=MAX_REFUSALS
        )

    async def get(self, key: str, fetch: Fetch[T], max_age_seconds: float | None = None) -> ServedValue[T]:
        """Return the document; stale only where it is being refetched or the fetch failed.

        Raises the error of the fetch where nothing can be served.

        Args:
            key: Key of the document.
            fetch: Fetches the document at a priority.
            max_age_seconds: The maximum accepted age; None for any.
        """
        entry = (await self._cache.read([key], max_age_seconds)).get(key)
        freshness = self._freshness(entry)
        if entry is not None and self._new_enough(entry, max_age_seconds):
            if freshness is Freshness.FRESH:
                return self._answer(entry)
            if freshness in (Freshness.FRESH_REFRESH, Freshness.STALE_REFRESH):
                self._refresh_behind(key, fetch)
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
            late = late_error(self._seconds_to_turn(Priority.LIVE))
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
        """Fetch again, below the priority of callers.

        Args:
            key: Key of the document.
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
        """Run one fetch for all callers.

        A caller that joined a fetch of lower priority, for which the quota was used up, tries again.
        """
        tried, outcome = await self._join(key, fetch, priority)
        if isinstance(outcome, Exhausted) and tried > priority:
            _, outcome = await self._join(key, fetch, priority)
        if isinstance(outcome, Exhausted):
            raise outcome.with_traceback(None)  # it is raised for every caller
        return outcome

    async def _join(self, key: str, fetch: Fetch[T], priority: Priority) -> Tried[T]:
        async def go() -> Tried[T]:
            try:
                return priority, await self._fetch_one(key, fetch, priority)
            except Exhausted as error:
                return priority, error

        return await self._flights.do(key, go)

    async def _fetch_one(self, key: str, fetch: Fetch[T], priority: Priority) -> CacheEntry[T]:
        from_another = await self._sharing.obtain(key)
        if from_another is not None:
            return from_another
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

    def _refresh_behind(self, key: str, fetch: Fetch[T]) -> None:
        if self._refused.find(key) is not None:
            return

        async def go() -> None:
            try:
                await self.refresh(key, fetch)
            except CoincastError:
                return  # counted where it failed; the next caller tries again

        task = asyncio.create_task(go(), context=context.detached())
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

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
        await asyncio.gather(*self._behind, return_exceptions=True)


def _too_old(age: float, max_age: float | None, met: CoincastError) -> Unavailable:
    return Unavailable(
        f"the newest document is {age:.0f} s old, more than the requested {max_age or 0:g} s ({met.message})",
        field="max_age_seconds",
        retry_after_seconds=met.retry_after_seconds or 5.0,
    )
