"""Composition root: builds the gateway from its components."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import redis.asyncio
from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute, Route

from coincast_chassis.clock import Clock, SteadyClock, steady_clock
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.observability.metrics import watch_breaker
from coincast_chassis.observability.tracing import Tracing
from coincast_chassis.redis import open_redis
from coincast_chassis.resilience.breaker import Breaker
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_gateway.asgi_types import ReadyApp
from coincast_gateway.auth.api_keys import ApiKeyCache
from coincast_gateway.auth.authenticator import require_json
from coincast_gateway.auth.factory import access_policy, build_authenticator, request_checks
from coincast_gateway.auth.usage import UsageRecorder
from coincast_gateway.cache.last_known import LastKnownResponses
from coincast_gateway.cache.redis_tier import RedisTier
from coincast_gateway.cache.response_cache import CacheMiddleware, ResponseCache
from coincast_gateway.clients import forecast, market, training
from coincast_gateway.clients.resilient import ResilientStub, is_unreachable
from coincast_gateway.coingecko_compat.app import CompatApp
from coincast_gateway.coingecko_compat.routes import PREFIX
from coincast_gateway.dependencies import Services
from coincast_gateway.edge.cors import with_cors
from coincast_gateway.edge.middleware import Bounds, EdgeMiddleware
from coincast_gateway.edge.request_metrics import LatencyWindow, RequestMetrics
from coincast_gateway.errors.handlers import add_exception_handlers
from coincast_gateway.experiments import ExperimentAssigner
from coincast_gateway.formats.negotiation import acceptable
from coincast_gateway.formats.sse import EventStreams
from coincast_gateway.health.collector import Collector
from coincast_gateway.health.sampler import Sampler
from coincast_gateway.health.service import HealthService
from coincast_gateway.health.trends import TrendStore, sample_forever
from coincast_gateway.mcp_app import PATH as MCP_PATH
from coincast_gateway.mcp_app import McpApp
from coincast_gateway.openapi import openapi_document
from coincast_gateway.routers import ROUTERS
from coincast_gateway.schemas.parameters import strict_query
from coincast_gateway.settings import Settings
from coincast_gateway.web.assets import shipped_assets

TITLE = "Coincast"
DESCRIPTION = (
    "Cryptocurrency market data and probabilistic price forecasts. Every reply states its provenance: "
    "as_of, age, source, degraded and why. Forecasts are not advice.\n\n"
    "Prices and other figures have 10 significant digits, percents 4 decimals, and seconds 1. A reply may "
    "come from a cache: `age_seconds` is computed at the moment of sending, and the `Age` header of each "
    "response is the seconds since the reply was made.\n\n"
    "[Data provided by CoinGecko](https://www.coingecko.com), except where `source` is `sandbox`: the "
    "sandbox makes its figures up."
)
# FastAPI's own telemetry costs 10 µs a request. It is off, since the gateway has its own metrics and traces.
NO_TELEMETRY = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running gateway: the ASGI application, and the hooks that its server calls."""

    app: ReadyApp
    edge: EdgeMiddleware
    draining: asyncio.Event

    def drain(self) -> None:
        """Report not ready, and make every client reconnect."""
        self.draining.set()
        self.edge.drain()


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of the services behind the gateway."""

    market: market.MarketClient
    forecasts: forecast.ForecastClient
    training: training.TrainingClient


async def open_clients(settings: Settings, stack: AsyncExitStack, tracing: Tracing) -> Clients:
    """Open channels to the three services.

    A channel connects when it is first used, and reconnects after a lost connection.
    """

    async def open_service_channel(target: str, service: str, seconds: float) -> Any:
        channel = open_channel(target, service=service, timeout_seconds=seconds, tracing=tracing)
        return await stack.enter_async_context(channel)

    def stub(name: str, seconds: float) -> ResilientStub:
        breaker = Breaker(
            name,
            fail_max=5,
            min_calls=5,
            reset_seconds=3.0,
            starting_reset_seconds=0.5,
            probe_seconds=2.0,
            is_failure=is_unreachable,
            listeners=(watch_breaker,),
        )
        return ResilientStub(
            name,
            breaker=breaker,
            deadline_seconds=seconds,
            max_calls=256,
            start_grace_seconds=settings.start_grace_seconds,
        )

    s = settings
    market_channel = await open_service_channel(s.market_target, market.SERVICE, s.market_deadline_seconds)
    forecast_channel = await open_service_channel(
        s.forecast_target, forecast.SERVICE, s.forecast_deadline_seconds
    )
    training_channel = await open_service_channel(
        s.training_target, training.SERVICE, s.training_deadline_seconds
    )
    market_client = market.MarketClient(market_channel, stub("market-data", s.market_deadline_seconds))
    stack.push_async_callback(market_client.aclose)
    return Clients(
        market_client,
        forecast.ForecastClient(forecast_channel, stub("forecast", s.forecast_deadline_seconds)),
        training.TrainingClient(training_channel, stub("training", s.training_deadline_seconds)),
    )


async def build(
    settings: Settings, stack: AsyncExitStack, *, tracing: Tracing | None = None, clock: Clock | None = None
) -> Gateway:
    """Build the gateway and connect it to its services.

    Args:
        settings: The settings of the gateway.
        stack: Receives the clean-up of every component, and runs it in reverse order.
        tracing: Where spans are exported; by default they are not.
        clock: The clock of caches, limits and usage; by default that of the system.
    """
    clock = SteadyClock(clock) if clock is not None else steady_clock()
    clients = await open_clients(settings, stack, tracing or Tracing())
    client = await open_gateway_redis(settings, stack)
    draining = asyncio.Event()
    shares = client is not None and (settings.share_replies or settings.workers > 1)
    cache = ResponseCache(
        max_bytes=settings.hot_cache_bytes,
        clock=clock,
        private=access_policy(settings).keys_required,
        shared=RedisTier(client) if client is not None and shares else None,
    )
    stack.push_async_callback(cache.aclose)
    recent = LatencyWindow()
    experiments = ExperimentAssigner()
    run_in_background(experiments.watch_forever(clients.forecasts), stack)
    collector = Collector(
        market=clients.market,
        forecasting=clients.forecasts,
        training=clients.training,
        redis=client,
        hot=cache,
        recent=recent,
        workers=settings.workers,
    )
    trends = TrendStore(client, clock)
    run_in_background(sample_forever(trends, Sampler(collector, recent, clock).take), stack)
    health = HealthService(
        market=clients.market,
        forecasts=clients.forecasts,
        collector=collector,
        trends=trends,
        version=version(),
        draining=draining,
    )
    usage, api_keys = UsageRecorder(client, clock), ApiKeyCache()
    run_in_background(usage.flush_forever(), stack)
    stack.push_async_callback(usage.flush)
    services = Services(
        market=clients.market,
        forecasts=clients.forecasts,
        training=clients.training,
        settings=settings,
        streams=EventStreams(draining, most=settings.max_event_streams),
        experiments=experiments,
        health=health,
        assets=shipped_assets(),
        usage=usage,
        api_keys=api_keys,
        clock=clock,
        last_forecasts=LastKnownResponses(max_bytes=settings.hot_cache_bytes // 4, clock=clock),
    )
    app = build_api(services, cache)
    inner = CacheMiddleware(app, cache, app.state.routes)
    mcp_app = McpApp(inner, version())
    stack.push_async_callback(mcp_app.aclose)
    app.router.routes.append(Route(MCP_PATH, mcp_app))
    authenticator = await build_authenticator(
        settings, client, clock, stack=stack, usage=usage, ring=api_keys
    )
    edge = EdgeMiddleware(
        inner,
        metrics=RequestMetrics(recent),
        authenticator=authenticator,
        checks=request_checks(settings),
        usage=usage,
        bounds=Bounds(settings.max_in_flight, settings.max_url_bytes, settings.body_seconds),
        streams=services.streams,
    )
    return Gateway(with_cors(edge, settings.cors_origins), edge, draining)


def routes_of(routers: Sequence[APIRouter]) -> list[BaseRoute]:
    """Return the routes of some routers, with the checks that every request passes."""
    api = APIRouter(dependencies=[Depends(strict_query), Depends(acceptable), Depends(require_json)])
    for router in routers:
        api.include_router(router)
    return api.routes


# FastAPI prepares included routes at the first request that looks for them, which takes 0.1 s. They hold
# nothing of an application, so all applications of a process share them.
ROUTES = routes_of(ROUTERS)


def build_api(services: Services, cache: ResponseCache, routers: Sequence[APIRouter] = ROUTERS) -> FastAPI:
    """Return the FastAPI application with its routers, error handlers and OpenAPI document.

    FastAPI's documentation pages are off, since they load scripts from another site. The gateway serves its
    own pages.

    Args:
        services: The components that handlers depend on.
        cache: The response cache that cacheable handlers use.
        routers: The routers to include.
    """
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=version(),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        max_body_size=services.settings.max_body_bytes,
        routes=ROUTES if routers is ROUTERS else routes_of(routers),
        telemetry=NO_TELEMETRY,  # type: ignore[arg-type]  # FastAPI's type wants every key
    )
    app.state.services, app.state.settings, app.state.cache = services, services.settings, cache
    app.state.routes = [route for router in routers for route in router.routes]
    app.mount(PREFIX, CompatApp(services.market, cache))
    add_exception_handlers(app)
    # FastAPI's documentation extends the OpenAPI document by replacing this method.
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    return app


async def open_gateway_redis(settings: Settings, stack: AsyncExitStack) -> redis.asyncio.Redis | None:
    """Return a Redis client with a short timeout, or None if no Redis is configured."""
    if not settings.redis_url:
        return None
    client = open_redis(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
    stack.push_async_callback(client.aclose)
    return client


def run_in_background(work: Any, stack: AsyncExitStack) -> None:
    """Run a coroutine as a task. Closing the stack cancels the task and waits until it has ended."""
    task = asyncio.create_task(work)

    async def stop() -> None:
        await cancel_and_wait({task})

    stack.push_async_callback(stop)


@cache
def version() -> str:
    """Return the version of the installed package."""
    return metadata.version("coincast-gateway")
