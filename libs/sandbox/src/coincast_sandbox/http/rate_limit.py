"""Limits on calls per minute and per month, and counters of calls."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from coincast_sandbox.http.errors import MONTHLY_LIMIT_MESSAGE, RATE_LIMIT_MESSAGE, ApiError

WINDOW_SECONDS = 60


class RateLimiter:
    """A sliding window of one minute and a count of monthly credits; a limit of 0 means no limit.

    Refused calls are counted too, as CoinGecko's page on rate limits describes.
    """

    def __init__(
        self, per_minute: int, monotonic: Callable[[], float] = time.monotonic, *, monthly_credits: int = 0
    ) -> None:
        self.per_minute = per_minute
        self.monthly_credits = monthly_credits
        self.used_credits = 0
        self._monotonic = monotonic
        self._calls: deque[float] = deque()

    def acquire(self) -> None:
        """Count one call.

        Raises:
            ApiError: 429 if the limit of the minute or the month is exceeded.
        """
        now = self._monotonic()
        self._drop_before(now - WINDOW_SECONDS)
        self._calls.append(now)
        self.used_credits += 1
        if self.per_minute and len(self._calls) > self.per_minute:
            raise ApiError(429, 1, RATE_LIMIT_MESSAGE)
        if self.monthly_credits and self.used_credits > self.monthly_credits:
            raise ApiError(429, 1, MONTHLY_LIMIT_MESSAGE)

    def retry_after_seconds(self) -> int:
        """Return the whole seconds until another call is allowed, 1 to 60."""
        now = self._monotonic()
        if not self.per_minute or len(self._calls) < self.per_minute:
            return WINDOW_SECONDS
        freed_at = self._calls[-self.per_minute] + WINDOW_SECONDS
        return min(max(int(freed_at - now) + 1, 1), WINDOW_SECONDS)

    def _drop_before(self, moment: float) -> None:
        while self._calls and self._calls[0] <= moment:
            self._calls.popleft()


class CallCounts:
    """Counters of calls by path and status, and the maximum number of calls within 60 seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.clear()

    def clear(self) -> None:
        """Set every counter to zero."""
        self.paths: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.peak_per_minute = 0
        self._recent: deque[float] = deque()

    def record_request(self, path: str) -> None:
        """Count a call for a path below /api/v3."""
        now = self._monotonic()
        self.paths[path] = self.paths.get(path, 0) + 1
        self._recent.append(now)
        while self._recent[0] <= now - WINDOW_SECONDS:
            self._recent.popleft()
        self.peak_per_minute = max(self.peak_per_minute, len(self._recent))

    def record_status(self, status: int) -> None:
        """Count a reply's status."""
        self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1

    def report(self) -> dict[str, object]:
        """Return the counters in the form of `GET /sandbox/calls`."""
        return {
            "total": sum(self.paths.values()),
            "paths": self.paths,
            "statuses": self.statuses,
            "peak_per_minute": self.peak_per_minute,
        }
