"""Record request metrics by route template, to bound label cardinality."""

from __future__ import annotations

from typing import Any

from coincast_chassis import context
from coincast_chassis.observability.metrics import observe_latency
from coincast_gateway import metrics
from coincast_gateway.asgi_types import Scope, header
from coincast_gateway.health.latency_window import LatencyWindow

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED = "unmatched"


class RequestMetrics:
    """The request metrics of one process; the handles of a label set are looked up once."""

    def __init__(self, recent: LatencyWindow) -> None:
        self._seconds: dict[str, Any] = {}
        self._requests: dict[tuple[str, str, int, str], Any] = {}
        self.recent = recent

    def record_cached(self, scope: Scope, status: int, seconds: float) -> None:
        """Record a request answered from the cache; it has a trace only where its caller began one."""
        route = getattr(scope.get("route"), "path", UNMATCHED)
        given = header(scope, b"traceparent")
        trace_id = context.parse_traceparent(given.decode("latin-1")) if given else ""
        self._record(route, "GET", status, seconds, served="hot", trace_id=trace_id)

    def record_app(self, scope: Scope, status: int, seconds: float) -> None:
        """Record a request that the application answered, while its trace is bound."""
        route = getattr(scope.get("route"), "path", UNMATCHED)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._record(route, method, status, seconds, served="app", trace_id=context.trace_id())

    def _record(
        self, route: str, method: str, status: int, seconds: float, *, served: str, trace_id: str
    ) -> None:
        self.recent.add(route, status, seconds)
        key = (route, method, status, served)
        counter = self._requests.get(key)
        if counter is None:
            counter = self._requests[key] = metrics.REQUESTS.labels(route, method, str(status), served)
        histogram = self._seconds.get(route)
        if histogram is None:
            histogram = self._seconds[route] = metrics.SECONDS.labels(route)
        counter.inc()
        observe_latency(histogram, seconds, trace_id)
