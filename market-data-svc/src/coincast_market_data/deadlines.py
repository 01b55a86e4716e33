"""How long a caller may wait for the upstream."""

from __future__ import annotations

from coincast_chassis import context

# A caller with a cached value waits only briefly for a newer one.
WITH_FALLBACK_SECONDS = 1.5
WITHOUT_DEADLINE_SECONDS = 30.0
# What is left of the deadline for the way back, on a busy machine too.
RESERVE_SECONDS = 0.2
RESERVE_SHARE = 0.1


def wait_budget_seconds(*, fallback: bool) -> float:
    """Seconds within the caller's own deadline; few where there is something to fall back on."""
    left = context.remaining_seconds()
    most = (
        WITHOUT_DEADLINE_SECONDS if left is None else max(0.05, left * (1 - RESERVE_SHARE) - RESERVE_SECONDS)
    )
    return min(most, WITH_FALLBACK_SECONDS) if fallback else most
