"""Admin paths below /sandbox, with which tests and operators control the sandbox."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coincast_sandbox.faults.registry import FaultError, FaultRegistry
from coincast_sandbox.http.rate_limit import CallCounts, RateLimiter
from coincast_sandbox.simulation.candles import day_of
from coincast_sandbox.simulation.market import Market


class Admin:
    """Handlers for faults, call counters, limits and health."""

    def __init__(
        self, market: Market, faults: FaultRegistry, counts: CallCounts, limiter: RateLimiter
    ) -> None:
        self._market = market
        self._faults = faults
        self._counts = counts
        self._limiter = limiter

    def routes(self) -> list[Route]:
        """Return every admin route."""
        return [
            Route("/sandbox/health", self.health, methods=["GET"]),
            Route("/sandbox/calls", self.calls, methods=["GET", "DELETE"]),
            Route("/sandbox/limits", self.limits, methods=["GET", "POST"]),
            Route("/sandbox/faults", self.faults, methods=["GET", "POST", "DELETE"]),
            Route("/sandbox/faults/{id:int}", self.one_fault, methods=["DELETE"]),
        ]

    async def health(self, request: Request) -> Response:
        """Return the mode, the clock and the number of coins."""
        clock = self._market.clock
        return JSONResponse(
            {
                "status": "ok",
                "mode": self._market.mode,
                "now": clock.now(),
                "today": day_of(clock.today()).isoformat(),
                "offset_seconds": clock.offset_seconds,
                "coins": len(self._market.series),
                "set_aside": list(self._market.set_aside),
            }
        )

    async def calls(self, request: Request) -> Response:
        """Return the counters, after setting them to zero on DELETE."""
        if request.method == "DELETE":
            self._counts.clear()
        return JSONResponse(self._counts.report())

    async def limits(self, request: Request) -> Response:
        """Return the limits; a POST sets them first. 0 is no limit; monthly_credits is optional."""
        if request.method == "POST":
            spec = orjson.loads(await request.body())
            self._limiter.per_minute = int(spec["per_minute"])
            self._limiter.monthly_credits = int(spec.get("monthly_credits", self._limiter.monthly_credits))
        return JSONResponse(
            {"per_minute": self._limiter.per_minute, "monthly_credits": self._limiter.monthly_credits}
        )

    async def faults(self, request: Request) -> Response:
        """List, add or clear faults."""
        if request.method == "POST":
            try:
                spec = orjson.loads(await request.body())
                return JSONResponse({"id": self._faults.add(spec)}, 201)
            except (FaultError, TypeError, orjson.JSONDecodeError) as error:
                return JSONResponse({"error": str(error)}, 422)
        if request.method == "DELETE":
            self._faults.remove(None)
        return JSONResponse({"faults": self._faults.listing()})

    async def one_fault(self, request: Request) -> Response:
        """Remove one fault."""
        self._faults.remove(request.path_params["id"])
        return JSONResponse({"faults": self._faults.listing()})
