"""Puts the sandbox together: market, rules, faults, paths."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from coincast_sandbox.api import Api
from coincast_sandbox.faults.registry import FaultRegistry
from coincast_sandbox.http.access import CallCounts, MinuteLimit, Plan
from coincast_sandbox.http.admin import Admin
from coincast_sandbox.http.errors import RefusalError, refusal_response
from coincast_sandbox.http.middleware import SandboxMiddleware
from coincast_sandbox.simulation.market import Market, open_market


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """What the sandbox is to be.

    `data` None simulates; `today` None is the day after the last candle; 0 calls a minute is no limit.
    """

    data: Path | None = None
    today: date | None = None
    seed: int = 7
    plan: Plan = field(default_factory=Plan)
    rate_per_minute: int = 0
    wall: Callable[[], float] = time.time
    # What the minute of limits and counts is measured by.
    monotonic: Callable[[], float] = time.monotonic


def create_app(options: SandboxOptions | None = None) -> ASGIApp:
    """The sandbox as an ASGI application. Raises CandlesError for a folder that cannot be read."""
    chosen = options or SandboxOptions()
    market = open_market(chosen.data, chosen.today, chosen.seed, chosen.wall)
    limit = MinuteLimit(chosen.rate_per_minute, chosen.monotonic)
    counts, faults = CallCounts(chosen.monotonic), FaultRegistry(chosen.seed)
    routes = Api(market, chosen.plan, limit).routes() + Admin(market, faults, counts, limit).routes()
    app = Starlette(routes=routes, exception_handlers={404: _unknown_path(market)})
    return SandboxMiddleware(app, clock=market.clock, limit=limit, counts=counts, faults=faults)


def _unknown_path(market: Market) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        refusal = RefusalError(404, 1, "Incorrect path. Please check https://docs.coingecko.com")
        return refusal_response(refusal, market.clock.now())

    return handle
