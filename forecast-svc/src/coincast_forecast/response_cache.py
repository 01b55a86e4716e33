"""Answers kept whole: while versions, history and record stand as they stood, the same question has the
same answer.

This is what makes a forecast that was already made about as cheap as an echo, and cheap by the hundred.
"""

from dataclasses import dataclass

from coincast_forecast.domain import ForecastQuery, LiveScores, ServedForecast
from coincast_forecast.lru import Lru
from coincast_forecast.ports import History
from coincast_forecast.registry.deployment import Snapshot

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CacheGeneration:
    """What all answers rest on; its parts are compared by identity."""

    snapshot: Snapshot
    scores: LiveScores

    def same(self, other: "CacheGeneration | None") -> bool:
        """Whether nothing has moved between the two."""
        return other is not None and self.snapshot is other.snapshot and self.scores is other.scores


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    history: History
    served: ServedForecast


class ResponseCache:
    """Answers by coin and question, all of one standing: a version that was swapped out is not held on to."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._standing: CacheGeneration | None = None
        self._kept: Lru[Key, _Kept] = Lru(keep)

    def get(
        self, question: Key, coin_id: str, standing: CacheGeneration, history: History
    ) -> ServedForecast | None:
        """The answer, if nothing that it rests on has moved."""
        if not standing.same(self._standing):
            return None
        kept = self._kept.get((coin_id, *question))
        return kept.served if kept is not None and kept.history is history else None

    def put(self, question: Key, standing: CacheGeneration, history: History, served: ServedForecast) -> None:
        """Keep an answer that is whole: not degraded, and in the ledger."""
        if not standing.same(self._standing):
            self._standing, self._kept = standing, Lru(self._keep)
        self._kept.put((served.forecast.coin_id, *question), _Kept(history, served))


def cache_key_of(query: ForecastQuery, snapshot: Snapshot) -> Key:
    """What of a query decides each coin's answer. Who asks matters only while a test runs."""
    testing = any(lineup.challenger is not None for lineup in snapshot.values())
    return (
        query.vs_currency,
        query.model,
        query.shape,
        query.attribution_features,
        query.client_key if testing else "",
    )
