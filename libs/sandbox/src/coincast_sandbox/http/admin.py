"""The paths below /sandbox that tests and operators steer it by."""

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coincast_sandbox.faults.registry import FaultError, FaultRegistry
from coincast_sandbox.http.access import CallCounts, MinuteLimit
from coincast_sandbox.simulation.candles import day_of
from coincast_sandbox.simulation.market import Market


class Admin:
    """Faults on and off, call counts, limits, health."""

    def __init__(self, market: Market, faults: FaultRegistry, counts: CallCounts, limit: MinuteLimit) -> None:
        self._market = market
        self._faults = faults
        self._counts = counts
        self._limit = limit

    def routes(self) -> list[Route]:
        """Every admin path."""
        return [
            Route("/sandbox/health", self.health, methods=["GET"]),
            Route("/sandbox/calls", self.calls, methods=["GET", "DELETE"]),
            Route("/sandbox/limits", self.limits, methods=["POST"]),
            Route("/sandbox/faults", self.faults, methods=["GET", "POST", "DELETE"]),
            Route("/sandbox/faults/{id:int}", self.one_fault, methods=["DELETE"]),
        ]

    async def health(self, request: Request) -> Response:
        """What it is, and which day it lives on."""
        clock = self._market.clock
        return JSONResponse(
            {
                "status": "ok",
                "mode": self._market.mode,
                "now": clock.now(),
                "today": day_of(clock.today()).isoformat(),
                "offset_seconds": clock.offset_seconds,
                "coins": len(self._market.series),
            }
        )

    async def calls(self, request: Request) -> Response:
        """The counters, or their return to zero."""
        if request.method == "DELETE":
            self._counts.clear()
        return JSONResponse(self._counts.report())

    async def limits(self, request: Request) -> Response:
        """Sets the calls a minute; 0 is none."""
        spec = orjson.loads(await request.body())
        self._limit.per_minute = int(spec["per_minute"])
        return JSONResponse({"per_minute": self._limit.per_minute})

    async def faults(self, request: Request) -> Response:
        """Lists, adds or clears faults."""
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
        """Switches one fault off."""
        self._faults.remove(request.path_params["id"])
        return JSONResponse({"faults": self._faults.listing()})
