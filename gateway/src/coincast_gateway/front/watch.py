"""Counts and times requests, by route template: what a caller invents never becomes a label."""

from typing import Any

from coincast_gateway import metrics
from coincast_gateway.health.latency import Recent
from coincast_gateway.serving.asgi import Scope

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED = "unmatched"


class Watch:
    """One per process. Handles of metrics are looked up once a label set."""

    def __init__(self, recent: Recent) -> None:
        self._seconds: dict[str, Any] = {}
        self._requests: dict[tuple[str, str, int, str], Any] = {}
        self._templates: dict[str, str] = {}
        self.recent = recent

    def hot(self, path: str, status: int, seconds: float) -> None:
        """A request that was answered with ready bytes."""
        route = self._templates.get(path, UNMATCHED)
        self._record(route, "GET", status, seconds, "hot")

    def passed(self, scope: Scope, status: int, seconds: float) -> None:
        """A request that the application answered."""
        route = getattr(scope.get("route"), "path", UNMATCHED)
        if len(self._templates) < 10_000 and route != UNMATCHED:
            self._templates[scope["path"]] = route
        self._record(
            route, scope["method"] if scope["method"] in METHODS else "other", status, seconds, "app"
        )

    def _record(self, route: str, method: str, status: int, seconds: float, served: str) -> None:
        self.recent.add(route, status, seconds)
        key = (route, method, status, served)
        counter = self._requests.get(key)
        if counter is None:
            counter = self._requests[key] = metrics.REQUESTS.labels(route, method, str(status), served)
        histogram = self._seconds.get(route)
        if histogram is None:
            histogram = self._seconds[route] = metrics.SECONDS.labels(route)
        counter.inc()
        histogram.observe(seconds)
