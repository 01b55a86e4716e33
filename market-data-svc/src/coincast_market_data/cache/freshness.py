"""Freshness rules: when an entry may be served, and when it is fetched again. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

# Clocks of replicas differ a little; an entry from further in the future cannot be trusted.
CLOCK_SLACK_SECONDS = 5.0
EARLY_BETA = 1.0


class Freshness(Enum):
    """What to do with a cache entry."""

    FRESH = "fresh"
    FRESH_REFRESH = "fresh_refresh"  # serve, and fetch early so that no caller waits at the end of the window
    STALE_REFRESH = "stale_refresh"  # serve, marked stale, and fetch in the background
    ONLY_IF_ERROR = "only_if_error"  # fetch first; serve, marked stale, where that fails
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """Ages in seconds that bound the use of an entry.

    Up to each of them an entry is fresh, servable while it is refetched, or servable where a fetch fails.
    """

    fresh: float
    revalidate: float
    if_error: float


def classify(age: float, windows: FreshnessPolicy, *, fetch_seconds: float, rand: float) -> Freshness:
    """Classify an entry that is `age` seconds old.

    `fetch_seconds` is how long its fetch took, `rand` is in (0, 1]. Early refresh as in "Optimal
    Probabilistic Cache Stampede Prevention" (Vattani et al., VLDB 2015).

    Args:
        age: Seconds since the fetch; negative if the entry is from the future.
        windows: The freshness windows of this kind of data.
        fetch_seconds: Duration of the fetch.
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
