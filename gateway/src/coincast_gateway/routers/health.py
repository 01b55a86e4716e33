"""Whether the gateway lives, and whether a forecast can be served through it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from coincast_chassis.errors import CoincastError
from coincast_gateway.clients.forecast import ForecastClient
from coincast_gateway.clients.market import MarketClient
from coincast_gateway.errors.problems import STARTING, Problem
from coincast_gateway.errors.validation import ProblemException
from coincast_gateway.health.collector import Collector
from coincast_gateway.health.trends import TrendStore
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.requests.health import ComponentQuery, TrendsQuery
from coincast_gateway.schemas.requests.market import NoQuery
from coincast_gateway.schemas.responses import health as shapes
from coincast_gateway.serving.endpoint import ALWAYS, Call, Endpoint

CHECK_SECONDS = 0.8


class HealthRoutes:
    """The two probes, and the metrics."""

    def __init__(
        self,
        market: MarketClient,
        forecasting: ForecastClient,
        *,
        collector: Collector,
        trends: TrendStore,
        version: str,
        draining: asyncio.Event,
    ) -> None:
        self._market = market
        self._forecasting = forecasting
        self._collector = collector
        self._trends = trends
        self._version = version
        self._draining = draining

    async def live(self, query: NoQuery, call: Call) -> RenderedResponse:
        """The process answers: that is all."""
        return render_json({"status": "alive", "version": self._version})

    async def ready(self, query: NoQuery, call: Call) -> RenderedResponse:
        """200 once a forecast can be served, 503 before and while draining.

        Once there are histories, forecasts go on without market-data: it is told, but does not decide.
        """
        market, forecast = await asyncio.gather(self._check_market(), self._check_forecast())
        checks, able = [market, forecast], forecast["ready"]
        if self._draining.is_set():
            checks.append({"name": "gateway", "ready": False, "reason": "The gateway is shutting down."})
            able = False
        if not able:
            missing = " ".join(check["reason"] for check in checks if not check["ready"])
            raise ProblemException(Problem(STARTING, missing, errors=tuple(checks)))
        return render_json({"status": "ready", "checks": checks})

    async def _check_market(self) -> dict[str, Any]:
        try:
            status = await self._market.status(CHECK_SECONDS)
        except CoincastError as error:
            return {"name": "market-data", "ready": False, "reason": error.message}
        return {
            "name": "market-data",
            "ready": True,
            "reason": f"Answers from {status.upstream or 'its upstream'}.",
        }

    async def _check_forecast(self) -> dict[str, Any]:
        try:
            response = await self._forecasting.models(CHECK_SECONDS)
        except CoincastError as error:
            return {"name": "forecast", "ready": False, "reason": error.message}
        ready = [model.name for model in response.models if model.ready]
        if ready:
            return {"name": "forecast", "ready": True, "reason": f"Serves {', '.join(ready)}."}
        reasons = dict.fromkeys(model.reason.rstrip(".") for model in response.models if model.reason)
        return {"name": "forecast", "ready": False, "reason": f"No model can answer: {'; '.join(reasons)}."}

    async def detailed(self, query: NoQuery, call: Call) -> RenderedResponse:
        """Every part with a status, a sentence and its figures; within a second even where all hang."""
        return render_json(await self._collector.document(), fresh_seconds=1.0)

    async def component(self, query: ComponentQuery, call: Call) -> RenderedResponse:
        """One part."""
        components = await self._collector.components()
        found = next(each for each in components if each.name == query.name)
        return render_json(found.document(), fresh_seconds=1.0)

    async def trends(self, query: TrendsQuery, call: Call) -> RenderedResponse:
        """How it went over the last hours."""
        return render_json(await self._trends.read(query.hours), fresh_seconds=5.0)

    async def metrics(self, query: NoQuery, call: Call) -> RenderedResponse:
        """The metrics of this process, or of all where there are several, for Prometheus."""
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # its lack
        return RenderedResponse(generate_latest(registry), CONTENT_TYPE_LATEST)

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint(
                path="/health",
                name="health",
                tag="health",
                answer=self.live,
                query=NoQuery,
                reply=shapes.Live,
                kept=False,
                scope="none",
                summary="Whether the gateway lives",
            ),
            Endpoint(
                path="/health/ready",
                name="health_ready",
                tag="health",
                answer=self.ready,
                query=NoQuery,
                reply=shapes.Ready,
                kept=False,
                scope="none",
                problems=(*ALWAYS, STARTING),
                summary="Whether a forecast can be served",
            ),
            Endpoint(
                path="/health/detailed",
                name="health_detailed",
                tag="health",
                answer=self.detailed,
                query=NoQuery,
                reply=shapes.Detailed,
                problems=ALWAYS,
                summary="Every part with a status, a sentence and its figures",
            ),
            Endpoint(
                path="/health/trends",
                name="health_trends",
                tag="health",
                answer=self.trends,
                query=TrendsQuery,
                reply=shapes.Trends,
                problems=ALWAYS,
                summary="How it went over the last hours, gaps shown as gaps",
            ),
            Endpoint(
                path="/health/components/{name}",
                name="health_component",
                tag="health",
                answer=self.component,
                query=ComponentQuery,
                reply=shapes.Component,
                problems=ALWAYS,
                summary="One part of the system",
            ),
            Endpoint(
                path="/metrics",
                name="metrics",
                tag="health",
                answer=self.metrics,
                query=NoQuery,
                kept=False,
                media_type="text/plain",
                summary="Metrics for Prometheus",
            ),
        ]
