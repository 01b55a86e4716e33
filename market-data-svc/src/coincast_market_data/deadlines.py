"""Deadlines: how long a caller may wait for the upstream."""

from __future__ import annotations

from coincast_chassis import context
from coincast_chassis.errors import CoincastError, Timeout, Unavailable

# A caller with a cached value waits only briefly for a newer one.
WITH_FALLBACK_SECONDS = 1.5
WITHOUT_DEADLINE_SECONDS = 30.0
# What is left of the deadline for the way back, on a busy machine too.
RESERVE_SECONDS = 0.2
RESERVE_SHARE = 0.1


def wait_budget_seconds(*, fallback: bool) -> float:
    """Return the seconds to wait within the caller's own deadline; few where there is a fallback."""
    left = context.remaining_seconds()
    most = (
        WITHOUT_DEADLINE_SECONDS if left is None else max(0.05, left * (1 - RESERVE_SHARE) - RESERVE_SECONDS)
    )
    return min(most, WITH_FALLBACK_SECONDS) if fallback else most


def late_error(seconds_to_turn: float | None) -> CoincastError:
    """Return the error for a caller whose time is up while the fetch goes on.

    Args:
        seconds_to_turn: When the next call that waits for the rate limit may start; None where none waits, so
            that CoinGecko itself is slow.
    """
    if seconds_to_turn is None:
        return Timeout("CoinGecko did not answer in time; the answer is kept for the next caller")
    return Unavailable(
        "The calls of the plan at CoinGecko are used up for now; the answer is kept for the next caller",
        retry_after_seconds=max(1.0, seconds_to_turn),
    )
