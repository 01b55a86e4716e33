"""Retry policy: full jitter, and a budget that is a share of the first calls."""

from __future__ import annotations

from coincast_chassis.errors import CoincastError, Timeout, Unavailable
from coincast_chassis.resilience.breaker import BreakerOpen
from coincast_market_data.coingecko.availability import TRANSIENT, UpstreamFailure
from coincast_market_data.coingecko.error_mapping import BadData

BASE_SECONDS = 0.25
LONGEST_SECONDS = 4.0


class RetryBudget:
    """Retry budget: each first call earns `share` of a retry.

    The saved budget is bounded, so that an outage cannot spend it all at once.
    """

    def __init__(self, share: float, *, most_saved: float = 5.0) -> None:
        self._share = share
        self._most_saved = most_saved
        # One in hand, so that a quiet service can retry its first call.
        self._saved = min(1.0, most_saved) if share > 0 else 0.0

    def first_call(self) -> None:
        """Count a call that is no retry."""
        self._saved = min(self._most_saved, self._saved + self._share)

    def spend(self) -> bool:
        """Return whether one more try is within the budget; count it if so."""
        if self._saved < 1.0 - 1e-9:
            return False
        self._saved -= 1.0
        return True


def worth_retrying(error: CoincastError) -> bool:
    """Return whether a failure may pass: not refusals, not limits, not a body that is wrong in itself."""
    if isinstance(error, UpstreamFailure):
        return error.cause in TRANSIENT
    return isinstance(error, Unavailable | Timeout) and not isinstance(error, BadData | BreakerOpen)


def backoff_seconds(attempt: int, rand: float) -> float:
    """Return full jitter: anywhere between zero and the doubled step. `rand` in [0, 1).

    Args:
        attempt: The number of the attempt that failed, from 1.
        rand: A random number in [0, 1).
    """
    return float(rand * min(LONGEST_SECONDS, BASE_SECONDS * 2**attempt))
