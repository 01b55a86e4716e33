"""Answers kept whole: while versions, history and record stand as they stood, the same question has the
same answer.

This is what makes a forecast that was already made about as cheap as an echo, and cheap by the hundred.
"""

from dataclasses import dataclass

from coincast_forecast.domain import ForecastQuery, LiveScores, Served
from coincast_forecast.lineup import Snapshot
from coincast_forecast.lru import Lru
from coincast_forecast.ports import History

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What an answer rests on; compared by identity."""

    snapshot: Snapshot
    scores: LiveScores


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    standing: Standing
    history: History
    served: Served


class WarmAnswers:
    """Answers by coin and question."""

    def __init__(self, keep: int) -> None:
        self._kept: Lru[Key, _Kept] = Lru(keep)

    def get(self, question: Key, coin_id: str, standing: Standing, history: History) -> Served | None:
        """The answer, if nothing that it rests on has moved."""
        kept = self._kept.get((coin_id, *question))
        if (
            kept is None
            or kept.history is not history
            or kept.standing.snapshot is not standing.snapshot
            or kept.standing.scores is not standing.scores
        ):
            return None
        return kept.served

    def put(self, question: Key, standing: Standing, history: History, served: Served) -> None:
        """Keep an answer that is whole: not degraded, and in the ledger."""
        self._kept.put((served.forecast.coin_id, *question), _Kept(standing, history, served))


def question_of(query: ForecastQuery, snapshot: Snapshot) -> Key:
    """What of a query decides each coin's answer. Who asks matters only while a test runs."""
    testing = any(lineup.challenger is not None for lineup in snapshot.values())
    return (
        query.vs_currency,
        query.model,
        query.shape,
        query.attribution_features,
        query.client_key if testing else "",
    )
