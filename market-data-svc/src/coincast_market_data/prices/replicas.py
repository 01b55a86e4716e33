"""What the batcher knows of its fellows: which pairs another replica is fetching at this moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coincast_market_data.cache.entry import Cached
from coincast_market_data.domain import Quote
from coincast_market_data.parse import Pair


@dataclass(frozen=True, slots=True)
class PairShare:
    """Pairs that another replica has just stored, those to be fetched here, and those fetched elsewhere."""

    mine: Sequence[Pair]
    found: Mapping[Pair, Cached[Quote | None]] = field(default_factory=dict)
    elsewhere: Sequence[Pair] = ()


class Replicas(Protocol):
    """The leases of pairs, as the batcher needs them."""

    async def claim(self, pairs: Sequence[Pair]) -> PairShare:
        """Take the right to fetch these pairs where nobody else has it."""
        ...

    async def wait(self, pairs: Sequence[Pair]) -> Mapping[Pair, Cached[Quote | None]]:
        """What others bring of these pairs, within a bounded time."""
        ...

    def release(self, pairs: Sequence[Pair]) -> None:
        """These could not be fetched."""
        ...


class NoReplicas:
    """Nobody else is there."""

    async def claim(self, pairs: Sequence[Pair]) -> PairShare:
        """All are to be fetched here."""
        return PairShare(pairs)

    async def wait(self, pairs: Sequence[Pair]) -> Mapping[Pair, Cached[Quote | None]]:
        """Nobody brings anything."""
        del pairs
        return {}

    def release(self, pairs: Sequence[Pair]) -> None:
        """Nothing was held."""
