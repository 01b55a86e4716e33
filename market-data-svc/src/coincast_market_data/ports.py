"""What the service needs of the world outside it; each port has an in-memory fake in the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol


class Priority(IntEnum):
    """Who goes first when the quota is short: lower is sooner."""

    LIVE = 0
    REFRESH = 1
    BACKFILL = 2


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One GET below the base address. Equal requests in flight are one."""

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


class Upstream(Protocol):
    """Something that answers CoinGecko's paths. Raises the chassis' errors."""

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch one document."""
        ...


class DataClock(Protocol):
    """The clock of the data: the upstream's own, which a sandbox may set years back."""

    def now(self) -> float:
        """UNIX seconds on the upstream's clock."""
        ...


class SharedStore(Protocol):
    """The shared layer of the cache. Fails open: a broken store reads as empty."""

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Values of those keys that are there."""
        ...

    async def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Keep the items for so long."""
        ...

    @property
    def up(self) -> bool:
        """Whether the last call was answered."""
        ...
