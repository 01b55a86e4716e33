"""Lease protocol for a cold key: one replica holds the lease and fetches, the others wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from coincast_market_data import metrics
from coincast_market_data.cache.entry import CacheEntry
from coincast_market_data.cache.two_level import LeaseResult, TwoLevelCache

T = TypeVar("T")
# The maximum wait for another replica; afterwards this one fetches itself.
LONGEST_WAIT_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.1


class KeyLeases(Generic[T]):
    """Leases on the keys of one cache. Where Redis is away every key is fetched here, at once."""

    def __init__(self, cache: TwoLevelCache[T], *, longest_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._cache = cache
        self._longest = longest_seconds

    async def claim(self, keys: Sequence[str], seen: Mapping[str, float] | None = None) -> LeaseResult[T]:
        """Return what to fetch here, what to wait for, and what was stored since now, or since `seen`.

        Args:
            keys: Keys that need a fetch.
            seen: For each key the time of the known entry; only newer entries count.
        """
        share = await self._cache.claim(keys, self._cache.versions(keys) if seen is None else seen)
        # A lease was taken for a key whose value already exists.
        self._cache.release(share.found)
        metrics.SHARED_FETCHES.labels(outcome="found").inc(len(share.found))
        return share

    async def obtain(self, key: str) -> CacheEntry[T] | None:
        """Return the value that another replica fetched; None where this process is to fetch it."""
        deadline = asyncio.get_running_loop().time() + self._longest
        seen = self._cache.versions([key])
        while True:
            share = await self.claim([key], seen)
            if share.found:
                return share.found[key]
            if share.mine or asyncio.get_running_loop().time() >= deadline:
                return None
            found = await self.wait([key], seen, deadline)
            if found:
                return found[key]

    async def wait(
        self, keys: Sequence[str], seen: Mapping[str, float], deadline: float | None = None
    ) -> dict[str, CacheEntry[T]]:
        """Wait for keys that are fetched elsewhere, until leases or time end; return what arrived.

        Args:
            keys: Keys that other replicas fetch.
            seen: For each key the time of the known entry.
            deadline: End of the wait, monotonic seconds.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._longest if deadline is None else deadline
        found: dict[str, CacheEntry[T]] = {}
        waiting, pause = tuple(keys), FIRST_PAUSE_SECONDS
        while waiting and clock() < deadline:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 1.5)
            share = await self._cache.look(waiting, seen)
            found |= share.found
            waiting = share.elsewhere
        metrics.SHARED_FETCHES.labels(outcome="waited").inc(len(found))
        metrics.SHARED_FETCHES.labels(outcome="gave_up").inc(len(keys) - len(found))
        return found

    def release(self, keys: Sequence[str]) -> None:
        """Release the leases after a failed fetch, so that another replica may try."""
        self._cache.release(keys)
