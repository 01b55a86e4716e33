"""Ports: protocols of external dependencies; each has an in-memory fake in the tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol


class Priority(IntEnum):
    """Order of upstream calls when the quota is short; lower goes first."""

    # A caller waits for a price, a market table or a document.
    LIVE = 0
    # A caller waits for one coin's history.
    HISTORY = 1
    # A bulk reader, such as a training, waits for the histories of many coins.
    BULK = 2
    # No caller waits: cache entries that are refreshed ahead of time, and the cache warm-up.
    REFRESH = 3
    # No caller waits: the archive is completed.
    BACKFILL = 4


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One GET below the base address. Equal requests in flight share one call."""

    path: str
    query: tuple[tuple[str, str], ...] = ()
    group: str = field(default="other", compare=False)
    priority: Priority = field(default=Priority.LIVE, compare=False)


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A parsed document; `received_at` in UNIX seconds on the upstream's clock."""

    document: Any
    raw: bytes
    received_at: float
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    # For how long a cache on the way has had the reply.
    cached_seconds: float = 0.0

    @property
    def as_of(self) -> float:
        """When the upstream made the reply, UNIX seconds on its clock."""
        return self.received_at - self.cached_seconds


class Upstream(Protocol):
    """Something that answers CoinGecko's paths. Raises the chassis' errors."""

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch one document."""
        ...


class DataClock(Protocol):
    """The clock of the data: the upstream's own, which a sandbox may set years back."""

    def now(self) -> float:
        """Return UNIX seconds on the upstream's clock."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """The keys to fetch here, the keys that are being fetched elsewhere, and the values that exist."""

    mine: tuple[str, ...]
    elsewhere: frozenset[str]
    values: Mapping[str, bytes]


class SharedStore(Protocol):
    """The shared layer of the cache. Fails open: a broken store reads as empty, and leases every key."""

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return the values of those keys that exist."""
        ...

    async def claim(self, keys: Sequence[str]) -> Claim:
        """Take the leases of these keys, where no other replica has them."""
        ...

    async def look(self, keys: Sequence[str]) -> Claim:
        """Return the same as `claim`, but take no lease."""
        ...

    def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Store the items for this long and release their leases, without waiting."""
        ...

    def release(self, keys: Iterable[str]) -> None:
        """Release the leases of these keys."""
        ...

    @property
    def up(self) -> bool:
        """Whether the last call was answered."""
        ...
