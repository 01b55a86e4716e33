"""A least-recently-used cache with a limit on the total weight of its entries."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import cachetools

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Entries that weigh at most `capacity` together, each 1 unless `weigh` says otherwise.

    A value that is heavier than the whole cache is not stored; a capacity of 0 stores nothing.
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int] | None = None) -> None:
        self._entries: cachetools.LRUCache[K, V] = cachetools.LRUCache(capacity, getsizeof=weigh)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value and mark it as used; None where there is none."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Store a value, evicting the least recently used ones."""
        self._entries.pop(key, None)
        try:
            self._entries[key] = value
        except ValueError:
            return

    def discard(self, key: K) -> None:
        """Remove a key, if it is there."""
        self._entries.pop(key, None)
