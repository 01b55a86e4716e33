"""Negative cache: a request that the upstream refuses costs one upstream call per window."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from cachetools import TTLCache

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, InvalidInput, NotFound, Unavailable
from coincast_market_data.coingecko.error_mapping import BadData

K = TypeVar("K", bound=Hashable)
MAX_ENTRIES = 20_000


class UnconfirmedData(Unavailable):
    """A figure came and was not believed, or was missing where one was known."""


class NegativeCache(Generic[K]):
    """Errors by question, bounded, for `seconds` of monotonic time.

    Only what concerns the question itself is remembered. An upstream that is away or limits calls has its
    circuit breaker and rate limiter, which know sooner when it is back.
    """

    def __init__(self, clock: Clock, seconds: float, *, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._errors: TTLCache[K, tuple[CoincastError, float]] = TTLCache(
            max_entries, ttl=seconds, timer=clock.monotonic
        )
        self._seconds = seconds

    def remember(self, key: K, error: CoincastError) -> None:
        """Keep an error that the next question would meet again."""
        if isinstance(error, NotFound | InvalidInput | BadData | UnconfirmedData):
            self._errors[key] = (error, self._clock.monotonic() + self._seconds)

    def find(self, key: K) -> CoincastError | None:
        """Return the error of an earlier request, with the time until the next upstream call."""
        found = self._errors.get(key)
        if found is None:
            return None
        error, until = found
        if isinstance(error, Unavailable):
            error.retry_after_seconds = max(1.0, until - self._clock.monotonic())
        return error.with_traceback(None)

    def forget(self, key: K) -> None:
        """Drop the error of a question that has an answer now."""
        self._errors.pop(key, None)
