"""Least-recently-used caches with a limit, so that no client can grow them without bound.

    replies = BoundedCache[str, bytes](max_bytes=16 << 20, ttl_seconds=5.0)
    replies.put(key, body)      # evicts the least recently used entries that no longer fit
    body = replies.get(key)     # None if absent or expired

Use one of these for every structure whose keys come from clients. The size of an entry in bytes is an
estimate of the memory that it holds: key, value and a fixed overhead. `Lru` counts entries, or a weight that
its owner computes. Neither is safe for use from several threads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar, overload

import cachetools

from coincast_chassis.clock import Clock, SystemClock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Default = TypeVar("Default")

# A dict slot, an LRU link and the record of the entry's size, measured with tracemalloc.
ENTRY_OVERHEAD_BYTES = 400
_MAX_DEPTH = 6


def estimate_bytes(value: object, _depth: int = 0) -> int:
    """Estimate how much memory a value holds, in bytes: exact for bytes, a sum over containers and slots.

    Parts that several values share count for each of them, so the estimate may be too large. Protobuf
    messages count as three times their encoded size.
    """
    size = sys.getsizeof(value, 64)
    if (
        isinstance(value, bytes | bytearray | str | int | float | bool)
        or value is None
        or _depth >= _MAX_DEPTH
    ):
        return size
    if isinstance(value, dict):
        return size + sum(
            estimate_bytes(k, _depth + 1) + estimate_bytes(v, _depth + 1) for k, v in value.items()
        )
    if isinstance(value, list | tuple | set | frozenset):
        return size + sum(estimate_bytes(part, _depth + 1) for part in value)
    if callable(byte_size := getattr(value, "ByteSize", None)):
        return size + 3 * int(byte_size())
    if isinstance(buffer_size := getattr(value, "nbytes", None), int):
        return size + buffer_size
    slots = (slot for cls in type(value).__mro__ for slot in cls.__dict__.get("__slots__", ()))
    parts = [getattr(value, slot) for slot in slots if hasattr(value, slot)]
    parts += list(getattr(value, "__dict__", {}).values())
    return size + sum(estimate_bytes(part, _depth + 1) for part in parts)


class BoundedCache(Generic[K, V]):
    """An LRU cache bounded in bytes, optionally in entries and in age.

    Args:
        max_bytes: Limit of the estimated size of all entries. A value that exceeds it alone is not stored.
        max_entries: Limit of the number of entries; None sets none.
        ttl_seconds: Age after which an entry counts as absent, on the monotonic clock; None keeps entries.
        size_of: Size of a value in bytes; the default estimates it. Key and overhead are added.
        clock: Clock of the ages; replaced by tests.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        max_entries: int | None = None,
        ttl_seconds: float | None = None,
        size_of: Callable[[V], int] = estimate_bytes,
        clock: Clock | None = None,
    ) -> None:
        if max_bytes <= 0 or (max_entries is not None and max_entries <= 0):
            raise ValueError("max_bytes and max_entries must be positive.")
        self._size_of = size_of
        self._max_entries = max_entries
        self._entries: cachetools.Cache[K, tuple[V, int]]
        if ttl_seconds is None:
            self._entries = cachetools.LRUCache(maxsize=max_bytes, getsizeof=_entry_size)
        else:
            timer = (clock or SystemClock()).monotonic
            self._entries = cachetools.TTLCache(
                maxsize=max_bytes, ttl=ttl_seconds, timer=timer, getsizeof=_entry_size
            )

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    @property
    def size_bytes(self) -> int:
        """Return the estimated size of all entries."""
        return int(self._entries.currsize)

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: Default) -> V | Default: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Return the value of a key and mark it as used; `default` if it is absent or expired."""
        entry = self._entries.get(key)
        return default if entry is None else entry[0]

    def put(self, key: K, value: V) -> bool:
        """Store a value, evicting others as needed.

        Returns:
            False if the value exceeds the whole limit; an older value of the key is then dropped as well.
        """
        size = self._size_of(value) + estimate_bytes(key) + ENTRY_OVERHEAD_BYTES
        self._entries.pop(key, None)
        if size > self._entries.maxsize:
            return False
        if self._max_entries is not None:
            while len(self._entries) >= self._max_entries:
                self._entries.popitem()
        self._entries[key] = (value, size)
        return True

    def pop(self, key: K) -> V | None:
        """Remove a key; return its value, or None if it was absent."""
        entry = self._entries.pop(key, None)
        return None if entry is None else entry[0]

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()


def _entry_size(entry: tuple[Any, int]) -> int:
    return entry[1]


class Lru(Generic[K, V]):
    """An LRU cache whose entries weigh at most `capacity` in total; each weighs 1 unless `weigh` is given.

    A value that is heavier than the whole cache is not stored; a capacity of 0 stores nothing.
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int] | None = None) -> None:
        self._entries: cachetools.LRUCache[K, V] = cachetools.LRUCache(capacity, getsizeof=weigh)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value of a key and mark it as used; None if it is absent."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Store a value, evicting the least recently used ones."""
        self._entries.pop(key, None)
        try:
            self._entries[key] = value
        except ValueError:
            return

    def discard(self, key: K) -> None:
        """Remove a key if it is present."""
        self._entries.pop(key, None)
