"""Freshness rules, as pure functions: when a cache entry may be served, and when it is fetched again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

# Clocks of replicas differ a little. An entry from further in the future comes from a replica with a wrong
# clock.
CLOCK_SLACK_SECONDS = 5.0
# The factor beta of the early refresh; see `classify`.
EARLY_BETA = 1.0


class Freshness(Enum):
    """How a cache entry may be used."""

    # Serve it.
    FRESH = "fresh"
    # Serve it, and fetch in the background, so that no caller waits when the window ends.
    FRESH_REFRESH = "fresh_refresh"
    # Serve it marked as stale, and fetch in the background.
    STALE_REFRESH = "stale_refresh"
    # Fetch first; if that fails, serve it marked as stale.
    ONLY_IF_ERROR = "only_if_error"
    # Do not serve it.
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """The ages, in seconds, up to which an entry of one kind of data may be used.

    Args:
        fresh: The entry is served as fresh.
        revalidate: It is served as stale while it is fetched again.
        if_error: It is served as stale if a fetch fails.
    """

    fresh: float
    revalidate: float
    if_error: float


def classify(age: float, windows: FreshnessPolicy, *, fetch_seconds: float, rand: float) -> Freshness:
    """Classify an entry by its age.

    An entry is refreshed early with a probability that rises towards the end of its fresh window, as in
    "Optimal Probabilistic Cache Stampede Prevention" (Vattani et al., VLDB 2015).

    Args:
        age: Seconds since the fetch; negative if the entry is from the future.
        windows: The freshness windows of this kind of data.
        fetch_seconds: How long the fetch of the entry took; slower ones are refreshed earlier.
        rand: A random number in (0, 1].
    """
    if age < -CLOCK_SLACK_SECONDS:
        return Freshness.STALE_REFRESH
    if age < windows.fresh:
        head_start = (
            -math.log(max(rand, 1e-12)) * EARLY_BETA * min(max(fetch_seconds, 0.05), windows.fresh / 10)
        )
        return Freshness.FRESH_REFRESH if age + head_start >= windows.fresh else Freshness.FRESH
    if age < windows.revalidate:
        return Freshness.STALE_REFRESH
    return Freshness.ONLY_IF_ERROR if age < windows.if_error else Freshness.GONE
