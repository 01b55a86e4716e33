"""The health of the system: liveness, readiness, components and trends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from coincast_chassis.errors import CoincastError
from coincast_gateway.clients.forecast import ForecastClient
from coincast_gateway.clients.market import MarketClient
from coincast_gateway.errors.problems import STARTING, Problem
from coincast_gateway.errors.validation import ProblemException
from coincast_gateway.health.collector import Collector
from coincast_gateway.health.trends import TrendStore

CHECK_SECONDS = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthService:
    """Backend of the health routes; one per process."""

    market: MarketClient
    forecasts: ForecastClient
    collector: Collector
    trends: TrendStore
    version: str
    draining: asyncio.Event

    async def ready(self) -> list[dict[str, Any]]:
        """Return the checks of readiness.

        Forecasts continue without market-data once there are histories: its check is shown but not decisive.

        Raises:
            ProblemException: 503 where no forecast can be served yet, and while the gateway shuts down.
        """
        market, forecast = await asyncio.gather(self._check_market(), self._check_forecast())
        checks, able = [market, forecast], forecast["ready"]
        if self.draining.is_set():
            checks.append({"name": "gateway", "ready": False, "reason": "The gateway is shutting down."})
            able = False
        if not able:
            missing = " ".join(check["reason"] for check in checks if not check["ready"])
            raise ProblemException(Problem(STARTING, missing, errors=tuple(checks)))
        return checks

    async def _check_market(self) -> dict[str, Any]:
        try:
            status = await self.market.status(CHECK_SECONDS)
        except CoincastError as error:
            return {"name": "market-data", "ready": False, "reason": error.message}
        reason = f"Answers from {status.upstream or 'its upstream'}."
        return {"name": "market-data", "ready": True, "reason": reason}

    async def _check_forecast(self) -> dict[str, Any]:
        try:
            response = await self.forecasts.models(CHECK_SECONDS)
        except CoincastError as error:
            return {"name": "forecast", "ready": False, "reason": error.message}
        ready = [model.name for model in response.models if model.ready]
        if ready:
            return {"name": "forecast", "ready": True, "reason": f"Serves {', '.join(ready)}."}
        # In one order, so that the same state is the same sentence at every look.
        reasons = sorted({model.reason.rstrip(".") for model in response.models if model.reason})
        return {"name": "forecast", "ready": False, "reason": f"No model can answer: {'; '.join(reasons)}."}
