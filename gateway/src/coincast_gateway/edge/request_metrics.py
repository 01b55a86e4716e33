"""Record request metrics by route template, to bound label cardinality.

`RequestMetrics` updates the Prometheus counters and histograms; `LatencyWindow` holds the latest durations
and errors for `/health`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from coincast_chassis import context
from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.observability.metrics import observe_latency
from coincast_gateway import metrics
from coincast_gateway.asgi_types import Scope, first_headers

PERCENTILES = (50, 90, 95, 99)
SERVER_ERROR = 500
# Errors are counted over five minutes: 30 steps of 10 s.
STEP_SECONDS = 10.0
WINDOW_STEPS = 30


def percentile(ordered: list[float], percent: float) -> float:
    """Return a percentile of sorted values by the nearest-rank method."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def percentiles_ms(seconds: Iterable[float]) -> dict[str, float | None]:
    """Return the percentiles of durations in milliseconds; None without durations."""
    ordered = sorted(seconds)
    return {
        f"p{percent}_ms": round(percentile(ordered, percent) * 1000, 3) if ordered else None
        for percent in PERCENTILES
    }


class LatencyWindow:
    """The latest durations of all requests and of each route, and the errors of the last five minutes.

    Requests below /health do not count as errors, since a 503 of /health/ready is a valid answer.

    Args:
        each: The number of durations stored for each route.
        overall: The number of durations stored for all routes together.
        clock: Its monotonic time dates the errors.
    """

    def __init__(self, *, each: int = 512, overall: int = 4096, clock: Clock | None = None) -> None:
        self._each = each
        self._clock = clock or steady_clock()
        self.seconds: deque[float] = deque(maxlen=overall)
        self.by_route: dict[str, deque[float]] = {}
        self.requests = self.failures = 0
        # Lists of (number of the step, requests, failures), oldest first.
        self._steps: deque[list[int]] = deque(maxlen=WINDOW_STEPS)

    def add(self, route: str, status: int, seconds: float) -> None:
        """Record an answered request.

        Args:
            route: The template of its path; there is a bounded number of them.
            status: The HTTP status.
            seconds: The duration.
        """
        if not route.startswith("/health"):
            self._count(failed=status >= SERVER_ERROR)
        self.seconds.append(seconds)
        kept = self.by_route.get(route)
        if kept is None:
            kept = self.by_route[route] = deque(maxlen=self._each)
        kept.append(seconds)

    def _count(self, *, failed: bool) -> None:
        self.requests += 1
        self.failures += failed
        step = int(self._clock.monotonic() // STEP_SECONDS)
        counts = self._steps[-1] if self._steps else None
        if counts is None or counts[0] != step:
            counts = [step, 0, 0]
            self._steps.append(counts)
        counts[1] += 1
        counts[2] += failed

    def recent_errors(self) -> tuple[float, float]:
        """Return the share of server errors in the last five minutes, and the age of the first in seconds."""
        now = self._clock.monotonic()
        oldest = int(now // STEP_SECONDS) - WINDOW_STEPS
        steps = [each for each in self._steps if each[0] > oldest]
        requests, failures = sum(each[1] for each in steps), sum(each[2] for each in steps)
        if not failures:
            return 0.0, 0.0
        first = next(each[0] for each in steps if each[2])
        return failures / requests, now - first * STEP_SECONDS


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED = "unmatched"


class RequestMetrics:
    """Records the request metrics of one process."""

    def __init__(self, recent: LatencyWindow) -> None:
        # The counter and the histogram of each label set, so that prometheus_client looks them up only once.
        self._series: dict[tuple[str, str, int, str], tuple[Any, Any]] = {}
        self.recent = recent

    def record_cached(self, scope: Scope, status: int, seconds: float) -> None:
        """Record a request that was answered from the cache; it has a trace only if its caller began one."""
        route = getattr(scope.get("route"), "path", UNMATCHED)
        given = first_headers(scope).get(b"traceparent")
        trace_id = context.parse_traceparent(given.decode("latin-1")) if given else ""
        self._record(route, "GET", status, seconds, served="hot", trace_id=trace_id)

    def record_app(self, scope: Scope, status: int, seconds: float) -> None:
        """Record a request that the application answered. Call it while the trace of the request is bound."""
        route = getattr(scope.get("route"), "path", UNMATCHED)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._record(route, method, status, seconds, served="app", trace_id=context.trace_id())

    def _record(
        self, route: str, method: str, status: int, seconds: float, *, served: str, trace_id: str
    ) -> None:
        self.recent.add(route, status, seconds)
        key = (route, method, status, served)
        series = self._series.get(key)
        if series is None:
            counter = metrics.REQUESTS.labels(route, method, str(status), served)
            series = self._series[key] = counter, metrics.SECONDS.labels(route)
        series[0].inc()
        if trace_id:
            observe_latency(series[1], seconds, trace_id)
        else:
            series[1].observe(seconds)
