"""Collects the status of all components concurrently, within a time limit that holds even if all hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import redis.asyncio
from redis.exceptions import RedisError

from coincast.common.v1.process_pb2 import GetProcessResponse
from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.process_stats import ProcessWatch
from coincast_gateway.cache.response_cache import ResponseCache
from coincast_gateway.clients.resilient import ResilientStub
from coincast_gateway.edge.request_metrics import LatencyWindow, percentiles_ms
from coincast_gateway.health.component import Component, assess, worst
from coincast_gateway.health.summaries import (
    forecast_component,
    market_component,
    process_figures,
    training_component,
)
from coincast_gateway.serialization import iso_seconds

# The deadline of a call to a service, and the time after the deadline until the call is cancelled.
ASK_SECONDS = 0.6
GRACE_SECONDS = 0.15
LOW_DISK_PERCENT = 5.0
Status = TypeVar("Status")


class MonitoredService(Protocol):
    """Client of a service that reports its status and the resource use of its process."""

    backend: ResilientStub

    async def status(self, deadline_seconds: float) -> Any:
        """Return the service's own status message."""
        ...

    async def process(self, deadline_seconds: float) -> GetProcessResponse:
        """Return the resource use of the service's process."""
        ...


class Collector:
    """Collects the components of the health page; one per process.

    Args:
        market: The client of market-data-svc.
        forecasting: The client of forecast-svc.
        training: The client of training-svc.
        redis: The client of Redis; None if none is configured.
        hot: The response cache of this process.
        recent: The latest response times and errors of this process.
        workers: The worker processes of this gateway.
        clock: The current time.
    """

    def __init__(
        self,
        *,
        market: MonitoredService,
        forecasting: MonitoredService,
        training: MonitoredService,
        redis: redis.asyncio.Redis | None,
        hot: ResponseCache,
        recent: LatencyWindow,
        workers: int = 1,
        clock: Clock | None = None,
    ) -> None:
        self._services: list[tuple[MonitoredService, Callable[[Any, dict[str, Any]], Component]]] = [
            (market, market_component),
            (forecasting, forecast_component),
            (training, training_component),
        ]
        self._redis = redis
        self._hot = hot
        self._recent = recent
        self._workers = workers
        self._clock = clock or steady_clock()
        # When each component that is not `ok` ceased to be so, UNIX seconds.
        self._unwell_since: dict[str, float] = {}
        self._watch = ProcessWatch()

    async def components(self) -> list[Component]:
        """Return every component; one that does not answer in time is reported as down."""
        calls = [self._service(service, read) for service, read in self._services]
        found = [self._own(), *await asyncio.gather(*calls, self._redis_component())]
        return [self._with_since(component) for component in found]

    def _with_since(self, component: Component) -> Component:
        """Return a component with the time at which its status ceased to be `ok`.

        The components are collected for the trends every few seconds, also without a request.
        """
        if component.status == "ok":
            self._unwell_since.pop(component.name, None)
            return component
        since = self._unwell_since.setdefault(component.name, self._clock.now())
        return replace(component, since=since)

    async def document(self) -> dict[str, Any]:
        """Return the overall status and all components, as a JSON document."""
        components = await self.components()
        status = worst(components)
        unwell = [each for each in components if each.status != "ok"]
        sentence = "Everything works." if not unwell else " ".join(f"{c.name}: {c.sentence}" for c in unwell)
        return {
            "status": status,
            "sentence": sentence,
            "checked_at": iso_seconds(int(self._clock.now())),
            "components": [component.document() for component in components],
        }

    async def _service(
        self, service: MonitoredService, read: Callable[[Any, dict[str, Any]], Component]
    ) -> Component:
        backend = service.backend
        link = {
            "breaker": backend.breaker.state,
            "calls_in_flight": backend.calls_in_flight,
            "calls_refused": backend.calls_refused,
        }
        started = time.perf_counter()
        try:
            status, process = await _within(
                ASK_SECONDS, asyncio.gather(service.status(ASK_SECONDS), self._process(service))
            )
        except (CoincastError, TimeoutError) as error:
            reason = (
                error.message if isinstance(error, CoincastError) else f"No answer within {ASK_SECONDS:g} s."
            )
            return Component(backend.name, "down", reason, {"link": link})
        component = read(status, process)
        answered = {"link": {**link, "answered_in_ms": round((time.perf_counter() - started) * 1000, 1)}}
        return Component(
            component.name, component.status, component.sentence, {**component.figures, **answered}
        )

    async def _process(self, service: MonitoredService) -> dict[str, Any]:
        return process_figures(await service.process(ASK_SECONDS))

    def _own(self) -> Component:
        process = process_figures(self._watch.read())
        lookups = self._hot.hits + self._hot.misses
        error_share, since_seconds = self._recent.recent_errors()
        figures = {
            "response_times": percentiles_ms(self._recent.seconds),
            "response_times_by_route": {
                r: percentiles_ms(s) for r, s in sorted(self._recent.by_route.items())
            },
            "requests_total": self._recent.requests,
            "server_errors_total": self._recent.failures,
            "hot_cache": {
                "hit_rate": round(self._hot.hits / lookups, 4) if lookups else None,
                "entries": len(self._hot),
                "size_bytes": self._hot.size_bytes,
                "shared_requests": self._hot.misses - self._hot.made,
            },
            "process": process,
            "workers": self._workers,
        }
        complaints = []
        if error_share > 0.05:
            complaints.append(
                f"{error_share:.0%} of its responses in the last 5 minutes were server errors, "
                f"the first one {since_seconds:.0f} s ago."
            )
        if process["disk_free_percent"] < LOW_DISK_PERCENT:
            complaints.append(f"Only {process['disk_free_percent']} % of the disk is free.")
        p95 = figures["response_times"]["p95_ms"]  # type: ignore[index]  # a dictionary by construction
        fine = "Answers." if p95 is None else f"95 % of the latest responses took at most {p95:.0f} ms."
        own = assess("gateway", complaints, fine, figures)
        if self._workers == 1:
            return own
        note = f"These are the figures of one of {self._workers} workers; /metrics has those of all."
        return replace(own, sentence=f"{own.sentence} {note}")

    async def _redis_component(self) -> Component:
        if self._redis is None:
            return Component(
                "redis", "degraded", "No Redis is configured; limits and trends are kept per process."
            )
        started = time.perf_counter()
        try:
            info = await _within(ASK_SECONDS, self._redis.info("memory"))
            used_mb = round(int(info["used_memory"]) / 1e6, 2)
        except (RedisError, TimeoutError, OSError):
            sentence = "Redis does not answer; limits and trends are kept only in this process."
            return Component("redis", "degraded", sentence)
        except (AttributeError, LookupError, TypeError, ValueError):
            sentence = (
                "The server at Redis' address is not Redis; limits and trends are kept only in this process."
            )
            return Component("redis", "degraded", sentence)
        took = round((time.perf_counter() - started) * 1000, 2)
        figures = {"answered_in_ms": took, "used_memory_mb": used_mb}
        return Component("redis", "ok", f"Answered in {took:g} ms.", figures)


async def _within(seconds: float, work: Awaitable[Status]) -> Status:
    async with asyncio.timeout(seconds + GRACE_SECONDS):
        return await work
