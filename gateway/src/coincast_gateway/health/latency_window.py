"""Response times by percentile, over the latest requests of each route."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

PERCENTILES = (50, 90, 95, 99)


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def percentiles_ms(seconds: Iterable[float]) -> dict[str, float | None]:
    """Milliseconds by percentile; null where nothing was measured."""
    ordered = sorted(seconds)
    return {
        f"p{percent}_ms": round(percentile(ordered, percent) * 1000, 3) if ordered else None
        for percent in PERCENTILES
    }


class LatencyWindow:
    """The latest durations, of all requests and of each route, and counts since the start."""

    def __init__(self, *, each: int = 512, overall: int = 4096) -> None:
        self._each = each
        self.seconds: deque[float] = deque(maxlen=overall)
        self.by_route: dict[str, deque[float]] = {}
        self.requests = self.failures = 0

    def add(self, route: str, status: int, seconds: float) -> None:
        """One answered request. Routes are templates, so their number is bounded."""
        self.requests += 1
        if status >= 500:
            self.failures += 1
        self.seconds.append(seconds)
        kept = self.by_route.get(route)
        if kept is None:
            kept = self.by_route[route] = deque(maxlen=self._each)
        kept.append(seconds)
