"""Two-level cache of one kind of data: a bounded cache in memory over Redis."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from coincast_chassis.clock import Clock
from coincast_chassis.resilience.bounded_cache import BoundedCache
from coincast_market_data import metrics
from coincast_market_data.cache.entry import CacheEntry, CacheKind, pack, unpack
from coincast_market_data.cache.freshness import CLOCK_SLACK_SECONDS
from coincast_market_data.ports import Claim, SharedStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeaseResult(Generic[T]):
    """Lease state of the keys that need a fetch.

    It holds what another replica stored meanwhile, what is to be fetched here, and what another replica is
    fetching.
    """

    found: Mapping[str, CacheEntry[T]]
    mine: tuple[str, ...]
    elsewhere: tuple[str, ...]
    # Storage times at the start of the wait: a newer entry ends the wait.
    seen: Mapping[str, float]


class CacheStats:
    """Hits, misses and errors of both layers over all kinds, for the status."""

    def __init__(self) -> None:
        self.hits = {"memory": 0, "redis": 0}
        self.misses = {"memory": 0, "redis": 0}
        self.garbage = 0
        self._sizes: list[Callable[[], int]] = []

    def watch(self, size: Callable[[], int]) -> None:
        """Add one more cache to the count."""
        self._sizes.append(size)

    def entries(self) -> int:
        """Return the entries held in this process over all kinds."""
        return sum(size() for size in self._sizes)

    def add(self, layer: str, hits: int, misses: int) -> None:
        """Count one look-up."""
        self.hits[layer] += hits
        self.misses[layer] += misses
        if hits:
            metrics.CACHE_READS.labels(layer=layer, result="hit").inc(hits)
        if misses:
            metrics.CACHE_READS.labels(layer=layer, result="miss").inc(misses)


class TwoLevelCache(Generic[T]):
    """Reads the process's layer first, Redis for what is not fresh there; writes both.

    The process's layer is bounded by entries and, where `max_bytes` is not 0, by the bytes of documents.
    """

    def __init__(
        self,
        kind: CacheKind[T],
        store: SharedStore,
        clock: Clock,
        counts: CacheStats,
        *,
        max_entries: int,
        max_bytes: int = 0,
    ) -> None:
        self.kind = kind
        self._store = store
        self._clock = clock
        self._counts = counts
        self._memory: BoundedCache[str, CacheEntry[T]] = BoundedCache(
            max_bytes=max_bytes or sys.maxsize, max_entries=max_entries, size_of=document_bytes
        )
        counts.watch(lambda: len(self._memory))

    @property
    def clock(self) -> Clock:
        """The clock of ages and windows."""
        return self._clock

    def __len__(self) -> int:
        return len(self._memory)

    def age(self, entry: CacheEntry[T]) -> float:
        """Return the seconds since the entry was fetched.

        An entry from the future comes from a replica whose clock is wrong: it counts as old by as much.
        """
        age = self._clock.now() - entry.stored_at
        return age if age >= -CLOCK_SLACK_SECONDS else -age

    def peek(self, key: str) -> CacheEntry[T] | None:
        """Return this process's entry, while it may still be served."""
        entry = self._memory.get(key)
        return entry if entry is not None and self.age(entry) < self.kind.windows.if_error else None

    async def read(
        self, keys: Sequence[str], new_enough_seconds: float | None = None
    ) -> dict[str, CacheEntry[T]]:
        """Return the entries that exist, whatever their age.

        Redis is read for keys whose entry here is no longer fresh, or is older than `new_enough_seconds`.

        Args:
            keys: The keys to read.
            new_enough_seconds: Age up to which this process's entry is used without a look into Redis.
        """
        found = self._from_memory(keys)
        fresh = min(self.kind.windows.fresh, math.inf if new_enough_seconds is None else new_enough_seconds)
        below = [key for key in keys if key not in found or not 0 <= self.age(found[key]) < fresh]
        self._counts.add("memory", len(keys) - len(below), len(below))
        if below:
            found.update(await self._from_store(below, found))
            # A fetch may have ended while Redis was read: without its result this caller would fetch again.
            found.update(self._from_memory(below))
        return found

    def write(self, entries: Mapping[str, CacheEntry[T]]) -> None:
        """Store the entries in both layers, in Redis in the background, and release their leases."""
        self._remember(entries)
        packed = {self._key(key): pack(entry, self.kind) for key, entry in entries.items()}
        if packed:
            self._store.write(packed, self.kind.windows.if_error + 60)

    def versions(self, keys: Sequence[str]) -> dict[str, float]:
        """Return each key's stored_at, or -inf if it is not in memory."""
        found = ((key, self._memory.get(key)) for key in keys)
        return {key: -math.inf if entry is None else entry.stored_at for key, entry in found}

    async def claim(self, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        """Take the lease of each key, so that one replica fetches; with what is newer than `seen` by now.

        Args:
            keys: Keys that need a fetch.
            seen: For each key when the known entry was stored.
        """
        return self._share(await self._store.claim([self._key(key) for key in keys]), keys, seen)

    async def look(self, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        """Return the lease state like `claim`, but take no lease."""
        return self._share(await self._store.look([self._key(key) for key in keys]), keys, seen)

    def release(self, keys: Iterable[str]) -> None:
        """Release the leases without a value."""
        self._store.release([self._key(key) for key in keys])

    def _share(self, claim: Claim, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        known = self._from_memory(keys)
        newer = known | self._newer({key: claim.values.get(self._key(key)) for key in keys}, known)
        # Check all entries, since another caller may have read them from Redis meanwhile.
        found = {key: entry for key, entry in newer.items() if entry.stored_at > seen[key]}
        left = [key for key in keys if key not in found]
        elsewhere = tuple(key for key in left if self._key(key) in claim.elsewhere)
        mine = tuple(key for key in left if self._key(key) not in claim.elsewhere)
        return LeaseResult(found, mine, elsewhere, seen)

    def _key(self, key: str) -> str:
        return f"{self.kind.name}:{key}"

    def _from_memory(self, keys: Sequence[str]) -> dict[str, CacheEntry[T]]:
        found = ((key, self._memory.get(key)) for key in keys)
        return {key: entry for key, entry in found if entry is not None}

    async def _from_store(
        self, keys: Sequence[str], known: Mapping[str, CacheEntry[T]]
    ) -> dict[str, CacheEntry[T]]:
        values = await self._store.read([self._key(key) for key in keys])
        newer = self._newer({key: values.get(self._key(key)) for key in keys}, known)
        self._counts.add("redis", len(newer), len(keys) - len(newer))
        return newer

    def _newer(
        self, values: Mapping[str, bytes | None], known: Mapping[str, CacheEntry[T]]
    ) -> dict[str, CacheEntry[T]]:
        """Return the store's entries that are newer than the known ones, and store them in memory."""
        newer: dict[str, CacheEntry[T]] = {}
        for key, value in values.items():
            entry = self._unpacked(key, value)
            if entry is not None and (key not in known or entry.stored_at > known[key].stored_at):
                newer[key] = entry
        self._remember(newer)
        return newer

    def _unpacked(self, key: str, data: bytes | None) -> CacheEntry[T] | None:
        if data is None:
            return None
        try:
            entry = unpack(data, self.kind)
            times = (entry.stored_at, entry.fetched_at, entry.fetch_seconds)
            valid = all(map(math.isfinite, times)) and self.kind.is_valid(key, entry.value)
        except (ValueError, TypeError, KeyError, AttributeError):
            valid = False
        if valid:
            return entry
        self._counts.garbage += 1
        metrics.REDIS_ERRORS.labels(operation="read", reason="garbage").inc()
        return None

    def _remember(self, entries: Mapping[str, CacheEntry[T]]) -> None:
        for key, entry in entries.items():
            self._memory.put(key, entry)


def document_bytes(entry: CacheEntry[Any]) -> int:
    """Return the bytes of a document; entries of other kinds are counted, not weighed."""
    return len(entry.value) if isinstance(entry.value, bytes) else 0
