"""A dict that forgets what was not asked for longest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Entries that weigh at most `capacity` together, each 1 unless `weigh` tells; 0 keeps nothing."""

    def __init__(self, capacity: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._capacity, self._weigh = capacity, weigh
        self._weight = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; None where there is none."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, at the cost of the least used."""
        self.discard(key)
        self._entries[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._capacity:
            self._weight -= self._weigh(self._entries.popitem(last=False)[1])

    def discard(self, key: K) -> None:
        """Forget a key, if it is there."""
        if key in self._entries:
            self._weight -= self._weigh(self._entries.pop(key))

    def values(self) -> list[V]:
        """All values, least used first."""
        return list(self._entries.values())
