"""Whether the gateway lives, and whether a forecast can be served through it."""

import asyncio
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from coincast_chassis.errors import CoincastError
from coincast_gateway.models import health as shapes
from coincast_gateway.problems import STARTING, Problem
from coincast_gateway.queries.market import NoQuery
from coincast_gateway.replies import Reply, json_reply
from coincast_gateway.services.forecast import Forecasting
from coincast_gateway.services.market import MarketData
from coincast_gateway.serving.endpoint import ALWAYS, Call, Endpoint
from coincast_gateway.serving.validation import Refused

CHECK_SECONDS = 0.8


class HealthRoutes:
    """The two probes, and the metrics."""

    def __init__(
        self, market: MarketData, forecasting: Forecasting, *, version: str, draining: asyncio.Event
    ) -> None:
        self._market = market
        self._forecasting = forecasting
        self._version = version
        self._draining = draining

    async def live(self, query: NoQuery, call: Call) -> Reply:
        """The process answers: that is all."""
        return json_reply({"status": "alive", "version": self._version})

    async def ready(self, query: NoQuery, call: Call) -> Reply:
        """200 once prices and at least one model's forecast can be served, 503 before and while draining."""
        checks = list(await asyncio.gather(self._check_market(), self._check_forecast()))
        if self._draining.is_set():
            checks.append({"name": "gateway", "ready": False, "reason": "The gateway is shutting down."})
        missing = [check for check in checks if not check["ready"]]
        if missing:
            raise Refused(
                Problem(STARTING, " ".join(check["reason"] for check in missing), errors=tuple(checks))
            )
        return json_reply({"status": "ready", "checks": checks})

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
        reason = f"Serves {', '.join(ready)}." if ready else "No model is loaded yet."
        return {"name": "forecast", "ready": bool(ready), "reason": reason}

    async def metrics(self, query: NoQuery, call: Call) -> Reply:
        """The metrics of this process, for Prometheus."""
        return Reply(generate_latest(REGISTRY), CONTENT_TYPE_LATEST)

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
