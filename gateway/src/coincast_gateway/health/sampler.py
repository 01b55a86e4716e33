"""Takes samples of the system's health for the trends."""

from __future__ import annotations

from typing import Any

from coincast_chassis.clock import Clock
from coincast_gateway.edge.request_metrics import LatencyWindow
from coincast_gateway.health.collector import Collector
from coincast_gateway.health.trends import Sample


class Sampler:
    """Takes samples; their rates are computed from the totals of the previous sample."""

    def __init__(self, collector: Collector, recent: LatencyWindow, clock: Clock) -> None:
        self._collector = collector
        self._recent = recent
        self._clock = clock
        # Monotonic seconds, requests and failures at the previous sample.
        self._before: tuple[float, int, int] | None = None

    async def take(self) -> Sample:
        """Return a sample of the current state. The first one has no rates."""
        components = await self._collector.components()
        now = self._clock.monotonic()
        requests, failures = self._recent.requests, self._recent.failures
        rate: float | None = None
        share: float | None = None
        if self._before is not None:
            seconds, new = now - self._before[0], requests - self._before[1]
            rate = round(new / seconds, 3) if seconds > 0 else None
            share = round((failures - self._before[2]) / new, 5) if new else 0.0
        self._before = (now, requests, failures)
        own: dict[str, Any] = components[0].figures
        return {
            "at": self._clock.now(),
            "requests_per_second": rate,
            "server_error_share": share,
            "hot_hit_rate": own["hot_cache"]["hit_rate"],
            "cpu_percent": own["process"]["cpu_percent"],
            "memory_mb": own["process"]["memory_mb"],
            **{name: own["response_times"][name] for name in ("p50_ms", "p95_ms", "p99_ms")},
            "statuses": {component.name: component.status for component in components},
        }
