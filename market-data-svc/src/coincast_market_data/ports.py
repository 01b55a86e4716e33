"""Ports: protocols of external dependencies. The tests have an in-memory fake of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol


class Priority(IntEnum):
    """Order of upstream calls when the quota is short; lower values go first."""

    # A caller waits for a price, a market table or a document.
    LIVE = 0
    # A caller waits for one coin's history.
    HISTORY = 1
    # A bulk reader, such as a training job, waits for the histories of many coins.
    BULK = 2
    # No caller waits: cache entries that are refreshed ahead of time, and the cache warm-up.
    REFRESH = 3
    # No caller waits: the archive is completed.
    BACKFILL = 4


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One GET below the base address. Equal requests in flight share one call.

    `group` selects the breaker; group and priority do not count in comparisons.
    """

    path: str
    query: tuple[tuple[str, str], ...] = ()
    group: str = field(default="other", compare=False)
    priority: Priority = field(default=Priority.LIVE, compare=False)


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A parsed document, with times in UNIX seconds on the upstream's clock."""

    document: Any
    raw: bytes
    received_at: float
    # When the upstream created the reply: earlier if it comes from an HTTP cache between here and there.
    as_of: float
    # How long the call took.
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)


class Upstream(Protocol):
    """Server of CoinGecko's paths."""

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch one document.

        Raises:
            CoincastError: The upstream answered with an error, or not at all.
        """
        ...


class DataClock(Protocol):
    """The clock of the data: that of the upstream. The time of a sandbox may be years in the past."""

    def now(self) -> float:
        """Return UNIX seconds on the upstream's clock."""
        ...


class CoinDirectory(Protocol):
    """The ids and currencies that CoinGecko lists, as far as they have been loaded."""

    def is_certainly_known(self, coin: str) -> bool:
        """Return whether the list is loaded and has the id."""
        ...

    def is_certainly_unknown(self, coin: str) -> bool:
        """Return whether the list is loaded and does not have the id."""
        ...

    async def suggest(self, coin: str) -> Sequence[str]:
        """Return ids that resemble a text, best first."""
        ...

    def check_currency(self, code: str, field: str) -> None:
        """Check that prices are quoted in a currency.

        Raises:
            InvalidInput: Prices are not quoted in it; `field` is the field that the error names.
        """
        ...

    async def quoted(self, codes: Sequence[str]) -> Sequence[str]:
        """Return the codes in which prices are quoted."""
        ...


class CallQueue(Protocol):
    """The calls that wait for the rate limit."""

    def seconds_to_turn(self, priority: Priority) -> float | None:
        """Return the seconds until the next queued call of a priority may start; None if none is queued."""
        ...


class CallAllowance(Protocol):
    """The calls that the plan still allows."""

    async def calls_left(self) -> int:
        """Return the calls that are left in this minute."""
        ...


class NoCallQueue:
    """A queue in which no call ever waits."""

    def seconds_to_turn(self, priority: Priority) -> float | None:
        """Return None."""
        del priority
        return None


class DefectLog(Protocol):
    """The log of defects that were found in CoinGecko's figures."""

    def note(self, coin: str, currency: str, text: str) -> None:
        """Record a quarantined figure of a coin in a currency, in words."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of claiming keys of the shared store."""

    # Keys whose lease this replica has, so that it must fetch them.
    mine: tuple[str, ...]
    # Keys that another replica is fetching.
    elsewhere: frozenset[str]
    # The values of the keys that exist.
    values: Mapping[str, bytes]


class SharedStore(Protocol):
    """The shared cache layer. It fails open: if it is broken, reads are empty and every key is leased."""

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return the values of those keys that exist."""
        ...

    async def claim(self, keys: Sequence[str]) -> Claim:
        """Take the leases of those keys that no other replica has leased."""
        ...

    async def look(self, keys: Sequence[str]) -> Claim:
        """Return the same as `claim`, without taking leases."""
        ...

    def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Store items and release their leases, without waiting for the store."""
        ...

    def remove(self, key: str) -> None:
        """Delete a value in the background."""
        ...

    def release(self, keys: Iterable[str]) -> None:
        """Release the leases of these keys."""
        ...

    @property
    def up(self) -> bool:
        """Whether the last call was answered."""
        ...
