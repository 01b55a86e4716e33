"""The composition root of the sandbox: market, plan, limits, faults, routes."""

from __future__ import annotations

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
from coincast_sandbox.http.admin import Admin
from coincast_sandbox.http.errors import ApiError, error_response
from coincast_sandbox.http.middleware import SandboxMiddleware
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.http.rate_limit import CallCounts, RateLimiter
from coincast_sandbox.simulation.market import Market, open_market


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """Options of a sandbox.

    Args:
        data: Folder of candle files to replay; None simulates a market.
        today: The sandbox's current day; None is the day after the last candle.
        seed: Random seed of the simulation.
        plan: The plan, which sets the accepted keys and how far back history goes.
        rate_per_minute: Limit of calls per minute; 0 is no limit.
        monthly_credits: Limit of calls per month; 0 is no limit.
        wall: The wall clock, UNIX seconds.
        monotonic: The monotonic clock of limits and counters.
    """

    data: Path | None = None
    today: date | None = None
    seed: int = 7
    plan: ApiPlan = field(default_factory=ApiPlan)
    rate_per_minute: int = 0
    monthly_credits: int = 0
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


def create_app(options: SandboxOptions | None = None) -> ASGIApp:
    """Build the sandbox as an ASGI application.

    Raises:
        CandlesError: The folder cannot be read.
    """
    chosen = options or SandboxOptions()
    market = open_market(chosen.data, chosen.today, chosen.seed, chosen.wall)
    limiter = RateLimiter(chosen.rate_per_minute, chosen.monotonic, monthly_credits=chosen.monthly_credits)
    counts, faults = CallCounts(chosen.monotonic), FaultRegistry(chosen.seed)
    api, admin = Api(market, chosen.plan, limiter), Admin(market, faults, counts, limiter)
    app = Starlette(routes=api.routes() + admin.routes(), exception_handlers={404: _unknown_path(market)})
    return SandboxMiddleware(app, clock=market.clock, limiter=limiter, counts=counts, faults=faults)


def _unknown_path(market: Market) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, exception: Exception) -> Response:
        error = ApiError(404, 1, "Incorrect path. Please check https://docs.coingecko.com")
        return error_response(error, market.clock.now())

    return handle
