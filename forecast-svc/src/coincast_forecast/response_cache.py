"""Response cache, invalidated when model versions, history, the newest hour or live scores change.

A cached answer takes little more time than an empty gRPC call.
"""

from __future__ import annotations

from dataclasses import dataclass

from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast.domain import ForecastQuery, History, LiveScores, ServedForecast
from coincast_forecast.hourly.within_day import Origin
from coincast_forecast.registry.deployment import Snapshot

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CacheGeneration:
    """The versions and scores that all cached answers depend on, compared by identity."""

    snapshot: Snapshot
    scores: LiveScores

    def same(self, other: CacheGeneration | None) -> bool:
        """Return whether both have the same versions and scores."""
        return other is not None and self.snapshot is other.snapshot and self.scores is other.scores


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    history: History
    origin: Origin | None
    served: ServedForecast


class ResponseCache:
    """Caches answers by coin and query, all of one generation, so that a replaced version can be freed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._generation: CacheGeneration | None = None
        self._entries: Lru[Key, _Entry] = Lru(size)

    def get(
        self,
        query_key: Key,
        coin_id: str,
        generation: CacheGeneration,
        history: History,
        origin: Origin | None = None,
    ) -> ServedForecast | None:
        """Return the cached answer if versions, scores, history and newest hour are unchanged, or None.

        Args:
            query_key: The key of `cache_key_of`.
            coin_id: The coin.
            generation: The current versions and scores.
            history: The coin's current history.
            origin: The current newest hour; None if forecasts start from daily closes.
        """
        if not generation.same(self._generation):
            return None
        entry = self._entries.get((coin_id, *query_key))
        if entry is None or entry.history is not history:
            return None
        if origin is not None and (entry.origin is None or not origin.same(entry.origin)):
            return None
        return entry.served

    def clear(self) -> None:
        """Drop all answers; call it when data arrive that would change them."""
        self._entries = Lru(self._size)

    def put(
        self,
        query_key: Key,
        generation: CacheGeneration,
        history: History,
        served: ServedForecast,
        origin: Origin | None = None,
    ) -> None:
        """Cache an answer. It must be complete: neither degraded nor missing from the forecast log."""
        if not generation.same(self._generation):
            self._generation, self._entries = generation, Lru(self._size)
        self._entries.put((served.forecast.coin_id, *query_key), _Entry(history, origin, served))


def cache_key_of(query: ForecastQuery, snapshot: Snapshot) -> Key:
    """Return the parts of a query on which each coin's answer depends.

    The caller is one of them only while an A/B test runs.
    """
    testing = any(deployment.challenger is not None for deployment in snapshot.values())
    return (
        query.vs_currency,
        query.model,
        query.options,
        query.attribution_features,
        query.client_key if testing else "",
    )
