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
    """A figure was rejected as implausible, or is missing although one was known."""


class NegativeCache(Generic[K]):
    """Errors by request, bounded, for `seconds` of monotonic time.

    Only errors of the request itself are stored. For an upstream that is away or limits calls there are the
    circuit breaker and the rate limiter, which notice sooner when it is back.
    """

    def __init__(self, clock: Clock, seconds: float, *, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._errors: TTLCache[K, tuple[CoincastError, float]] = TTLCache(
            max_entries, ttl=seconds, timer=clock.monotonic
        )
        self._seconds = seconds

    def remember(self, key: K, error: CoincastError) -> None:
        """Store an error that the same request would meet again."""
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
        """Drop the error of a request that succeeded."""
        self._errors.pop(key, None)
