"""The cache of one kind of data: a bounded dict in the process, Redis below it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from coincast_chassis.clock import Clock
from coincast_market_data import metrics
from coincast_market_data.cache.entry import Cached, Kind, pack, unpack
from coincast_market_data.ports import SharedStore

T = TypeVar("T")


class LayerCounts:
    """Hits, misses and errors of both layers over all kinds, for the status."""

    def __init__(self) -> None:
        self.hits = {"memory": 0, "redis": 0}
        self.misses = {"memory": 0, "redis": 0}
        self.garbage = 0
        self._sizes: list[Callable[[], int]] = []

    def watch(self, size: Callable[[], int]) -> None:
        """Have one more cache counted."""
        self._sizes.append(size)

    def entries(self) -> int:
        """Entries held in this process over all kinds."""
        return sum(size() for size in self._sizes)

    def add(self, layer: str, hits: int, misses: int) -> None:
        """Count one look-up."""
        self.hits[layer] += hits
        self.misses[layer] += misses
        if hits:
            metrics.CACHE_READS.labels(layer=layer, result="hit").inc(hits)
        if misses:
            metrics.CACHE_READS.labels(layer=layer, result="miss").inc(misses)


class LayeredCache(Generic[T]):
    """Reads the process's layer first, Redis for what is not fresh there; writes both.

    The process's layer is bounded by entries and, where `max_bytes` is not 0, by the bytes of documents.
    """

    def __init__(
        self,
        kind: Kind[T],
        store: SharedStore,
        clock: Clock,
        counts: LayerCounts,
        *,
        max_entries: int,
        max_bytes: int = 0,
    ) -> None:
        self.kind = kind
        self._store = store
        self._clock = clock
        self._counts = counts
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._memory: OrderedDict[str, Cached[T]] = OrderedDict()
        counts.watch(lambda: len(self._memory))

    def __len__(self) -> int:
        return len(self._memory)

    def age(self, entry: Cached[T]) -> float:
        """Seconds since the entry was fetched, on the machine's clock."""
        return self._clock.now() - entry.stored_at

    def peek(self, key: str) -> Cached[T] | None:
        """What this process has, while it may still be served."""
        entry = self._memory.get(key)
        return entry if entry is not None and self.age(entry) < self.kind.windows.if_error else None

    async def read(self, keys: Sequence[str]) -> dict[str, Cached[T]]:
        """What is there, whatever its age."""
        found = self._from_memory(keys)
        fresh = self.kind.windows.fresh
        below = [key for key in keys if key not in found or not 0 <= self.age(found[key]) < fresh]
        self._counts.add("memory", len(keys) - len(below), len(below))
        if below:
            found.update(await self._from_store(below, found))
        return found

    async def write(self, entries: Mapping[str, Cached[T]]) -> None:
        """Keep the entries in both layers."""
        self._remember(entries)
        packed = {self._key(key): pack(entry, self.kind) for key, entry in entries.items()}
        if packed:
            await self._store.write(packed, self.kind.windows.if_error + 60)

    def _key(self, key: str) -> str:
        return f"{self.kind.name}:{key}"

    def _from_memory(self, keys: Sequence[str]) -> dict[str, Cached[T]]:
        found = {}
        for key in keys:
            entry = self._memory.get(key)
            if entry is not None:
                self._memory.move_to_end(key)
                found[key] = entry
        return found

    async def _from_store(self, keys: Sequence[str], known: Mapping[str, Cached[T]]) -> dict[str, Cached[T]]:
        values = await self._store.read([self._key(key) for key in keys])
        newer: dict[str, Cached[T]] = {}
        for key in keys:
            entry = self._unpacked(values.get(self._key(key)))
            if entry is not None and (key not in known or entry.stored_at > known[key].stored_at):
                newer[key] = entry
        self._counts.add("redis", len(newer), len(keys) - len(newer))
        self._remember(newer)
        return newer

    def _unpacked(self, data: bytes | None) -> Cached[T] | None:
        if data is None:
            return None
        try:
            return unpack(data, self.kind)
        except (ValueError, TypeError, KeyError, AttributeError):
            self._counts.garbage += 1
            metrics.REDIS_ERRORS.labels(operation="read", reason="garbage").inc()
            return None

    def _remember(self, entries: Mapping[str, Cached[T]]) -> None:
        for key, entry in entries.items():
            self._bytes += self._weight(entry) - self._weight(self._memory.get(key))
            self._memory[key] = entry
            self._memory.move_to_end(key)
        while len(self._memory) > self._max_entries or (self._bytes > self._max_bytes > 0):
            _, dropped = self._memory.popitem(last=False)
            self._bytes -= self._weight(dropped)

    def _weight(self, entry: Cached[T] | None) -> int:
        """Bytes of a document; other things are counted, not weighed."""
        return len(entry.value) if entry is not None and isinstance(entry.value, bytes) else 0
