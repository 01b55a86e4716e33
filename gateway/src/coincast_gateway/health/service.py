"""The health of the system: liveness, readiness, components and trends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from coincast.market.v1 import market_pb2
from coincast_chassis.clock import Clock, SystemClock
from coincast_chassis.errors import CoincastError
from coincast_gateway.clients.forecast import ForecastClient
from coincast_gateway.clients.market import MarketClient
from coincast_gateway.errors.problems import STARTING, Problem, ProblemException
from coincast_gateway.health.collector import Collector
from coincast_gateway.health.summaries import upstream_problem
from coincast_gateway.health.trends import TrendStore

# The deadline of the calls for a readiness check.
CHECK_SECONDS = 0.8
# Liveness must answer quickly, so the state of the upstream is fetched with a short deadline and cached.
UPSTREAM_SECONDS = 0.2
UPSTREAM_FRESH_SECONDS = 2.0


@dataclass(slots=True)
class _UpstreamProblem:
    """The last known problem of the upstream (empty: none), and the monotonic seconds of its look-up."""

    sentence: str = ""
    fetched_at: float = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthService:
    """Answers the health routes; one per process."""

    market: MarketClient
    forecasts: ForecastClient
    collector: Collector
    trends: TrendStore
    version: str
    draining: asyncio.Event
    clock: Clock = field(default_factory=SystemClock)
    _upstream: _UpstreamProblem = field(default_factory=_UpstreamProblem, init=False)

    async def upstream_problem(self) -> str | None:
        """Return why the upstream is unavailable, with the remedy; None if it is available or not known."""
        known = self._upstream
        if self.clock.monotonic() - known.fetched_at >= UPSTREAM_FRESH_SECONDS:
            known.fetched_at = self.clock.monotonic()
            with suppress(CoincastError):
                self._update_upstream(await self.market.status(UPSTREAM_SECONDS))
        return known.sentence or None

    async def ready(self) -> list[dict[str, Any]]:
        """Return the readiness checks.

        A failed check of market-data does not make the gateway unready, since forecasts can be served from
        stored histories.

        Raises:
            ProblemException: 503 if no forecast can be served yet, and while the gateway shuts down.
        """
        market, forecast = await asyncio.gather(self._check_market(), self._check_forecast())
        checks, able = [market, forecast], forecast["ready"]
        if self.draining.is_set():
            checks.append({"name": "gateway", "ready": False, "reason": "The gateway is shutting down."})
            able = False
        if not able:
            reasons = [check["reason"] for check in checks if not check["ready"]]
            # The reason of forecast-svc may quote that of market-data; a quoted reason is not repeated.
            detail = " ".join(r for r in reasons if not any(r in other for other in reasons if other != r))
            raise ProblemException(Problem(STARTING, detail, errors=tuple(checks)))
        return checks

    def _update_upstream(self, status: market_pb2.GetStatusResponse) -> None:
        self._upstream.sentence = upstream_problem(status)
        self._upstream.fetched_at = self.clock.monotonic()

    async def _check_market(self) -> dict[str, Any]:
        try:
            status = await self.market.status(CHECK_SECONDS)
        except CoincastError as error:
            return {"name": "market-data", "ready": False, "reason": error.message}
        self._update_upstream(status)
        if problem := upstream_problem(status):
            return {"name": "market-data", "ready": False, "reason": problem}
        if not status.upstream_status.tried and status.HasField("upstream_status"):
            reason = f"Has not called {status.upstream or 'its upstream'} yet."
            return {"name": "market-data", "ready": True, "reason": reason}
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
        # Sorted, so that the same state always gives the same sentence.
        reasons = sorted({model.reason.rstrip(".") for model in response.models if model.reason})
        return {"name": "forecast", "ready": False, "reason": f"No model can answer: {'; '.join(reasons)}."}
