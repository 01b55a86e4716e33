"""The one place where the gateway's parts are put together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import redis.asyncio
from fastapi import FastAPI

from coincast_chassis.clock import Clock, SystemClock
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.observability.metrics import watch_breaker
from coincast_chassis.observability.tracing import Tracing
from coincast_chassis.redis import open_redis
from coincast_chassis.resilience.breaker import Breaker
from coincast_gateway.asgi_types import App
from coincast_gateway.auth.factory import access_policy, build_authenticator
from coincast_gateway.cache.redis_tier import RedisTier
from coincast_gateway.cache.response_cache import ResponseCache
from coincast_gateway.clients import forecast, market, training
from coincast_gateway.clients.resilient import ResilientStub, is_unreachable
from coincast_gateway.coingecko_compat.app import CompatApp
from coincast_gateway.edge.cors import with_cors
from coincast_gateway.edge.middleware import Bounds, EdgeMiddleware
from coincast_gateway.edge.request_metrics import RequestMetrics
from coincast_gateway.experiments import ExperimentAssigner
from coincast_gateway.formats.sse import Streams
from coincast_gateway.health.collector import Collector
from coincast_gateway.health.latency_window import LatencyWindow
from coincast_gateway.health.sampler import Sampler
from coincast_gateway.health.trends import TrendStore, sample_forever
from coincast_gateway.routers.forecasts import ForecastRoutes
from coincast_gateway.routers.health import HealthRoutes
from coincast_gateway.routers.market import MarketRoutes
from coincast_gateway.routers.pages import PageRoutes
from coincast_gateway.routers.registry import RegistryRoutes
from coincast_gateway.routers.training import TrainingRoutes
from coincast_gateway.serving.body import BodyBounds
from coincast_gateway.serving.direct import Direct
from coincast_gateway.serving.dispatch import Serving
from coincast_gateway.serving.endpoint import Endpoint
from coincast_gateway.serving.rest import rest_app
from coincast_gateway.settings import Settings
from coincast_gateway.web.assets import Assets


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running gateway: the ASGI application, and what its server must be able to tell it."""

    app: App
    front: EdgeMiddleware
    draining: asyncio.Event

    def drain(self) -> None:
        """Say not ready, and ask every client to connect anew."""
        self.draining.set()
        self.front.drain()


@dataclass(frozen=True, slots=True)
class Services:
    """What stands behind the gateway."""

    market: market.MarketClient
    forecasting: forecast.ForecastClient
    training: training.TrainingClient


async def open_services(settings: Settings, stack: AsyncExitStack, tracing: Tracing) -> Services:
    """Channels to the three services; they connect when first used and again whenever they must."""

    async def opened(target: str, service: str, seconds: float) -> Any:
        channel = open_channel(target, service=service, timeout_seconds=seconds, tracing=tracing)
        return await stack.enter_async_context(channel)

    def backend(name: str, seconds: float) -> ResilientStub:
        breaker = Breaker(
            name,
            fail_max=5,
            min_calls=5,
            reset_seconds=3.0,
            probe_seconds=2.0,
            is_failure=is_unreachable,
            listeners=(watch_breaker,),
        )
        return ResilientStub(name, breaker=breaker, deadline_seconds=seconds, max_calls=256)

    s = settings
    market_channel = await opened(s.market_target, market.SERVICE, s.market_deadline_seconds)
    forecast_channel = await opened(s.forecast_target, forecast.SERVICE, s.forecast_deadline_seconds)
    training_channel = await opened(s.training_target, training.SERVICE, s.training_deadline_seconds)
    market_data = market.MarketClient(market_channel, backend("market-data", s.market_deadline_seconds))
    stack.push_async_callback(market_data.aclose)
    return Services(
        market_data,
        forecast.ForecastClient(forecast_channel, backend("forecast", s.forecast_deadline_seconds)),
        training.TrainingClient(training_channel, backend("training", s.training_deadline_seconds)),
    )


async def build(
    settings: Settings, stack: AsyncExitStack, *, tracing: Tracing | None = None, clock: Clock | None = None
) -> Gateway:
    """Everything, connected. `stack` closes it in reverse order."""
    clock = clock or SystemClock()
    services = await open_services(settings, stack, tracing or Tracing())
    redis = await opened_redis(settings, stack)
    draining = asyncio.Event()
    private = access_policy(settings).keys_wanted
    shares = redis is not None and (settings.share_replies or settings.workers > 1)
    shared = RedisTier(redis) if redis is not None and shares else None
    hot = ResponseCache(max_bytes=settings.hot_cache_bytes, clock=clock, private=private, shared=shared)
    stack.push_async_callback(hot.aclose)
    watch = RequestMetrics(LatencyWindow())
    health = await watched_health(
        services,
        redis=redis,
        hot=hot,
        recent=watch.recent,
        clock=clock,
        stack=stack,
        draining=draining,
        workers=settings.workers,
    )
    pages = PageRoutes(Assets(), lambda: describe(rest))
    endpoints = [*all_endpoints(settings, services), *health.endpoints(), *pages.endpoints()]
    bodies = BodyBounds(settings.max_body_bytes, settings.body_seconds)
    sides = await watched_sides(services, stack)
    serving = Serving(
        hot=hot, bodies=bodies, streams=Streams(draining), now=clock.monotonic, caller_key=sides.of
    )
    rest = rest_app(serving, endpoints, CompatApp(services.market, hot, clock.monotonic), version=version())
    gate = await build_authenticator(settings, redis, clock, stack)
    bounds = Bounds(settings.max_in_flight, settings.max_url_bytes)
    direct = Direct(rest, serving, endpoints)
    front = EdgeMiddleware(direct, hot=hot, watch=watch, gate=gate, bounds=bounds)
    return Gateway(with_cors(front, settings.cors_origins), front, draining)


async def watched_sides(services: Services, stack: AsyncExitStack) -> ExperimentAssigner:
    """Which callers are on which side of an A/B test, looked up while one runs."""
    sides = ExperimentAssigner()
    watching = asyncio.create_task(sides.watch_forever(services.forecasting))
    stack.push_async_callback(cancelled, watching)
    return sides


async def opened_redis(settings: Settings, stack: AsyncExitStack) -> redis.asyncio.Redis | None:
    """A client that gives up quickly; None where no Redis is configured."""
    if not settings.redis_url:
        return None
    client = open_redis(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
    stack.push_async_callback(client.aclose)
    return client


async def watched_health(
    services: Services,
    *,
    redis: redis.asyncio.Redis | None,
    hot: ResponseCache,
    recent: LatencyWindow,
    clock: Clock,
    stack: AsyncExitStack,
    draining: asyncio.Event,
    workers: int,
) -> HealthRoutes:
    """The health family, with its sampling under way."""
    s = services
    collector = Collector(
        market=s.market,
        forecasting=s.forecasting,
        training=s.training,
        redis=redis,
        hot=hot,
        recent=recent,
        workers=workers,
    )
    trends = TrendStore(redis, clock)
    sampling = asyncio.create_task(sample_forever(trends, Sampler(collector, recent, clock).take))
    stack.push_async_callback(cancelled, sampling)
    return HealthRoutes(
        s.market, s.forecasting, collector=collector, trends=trends, version=version(), draining=draining
    )


async def cancelled(task: asyncio.Task[None]) -> None:
    """End a background task and wait until it has."""
    task.cancel()
    await asyncio.wait({task})


def all_endpoints(settings: Settings, services: Services) -> Sequence[Endpoint]:
    """Every endpoint that a service stands behind, in the order in which OpenAPI lists them."""
    return [
        *MarketRoutes(services.market, settings).endpoints(),
        *ForecastRoutes(services.forecasting, settings).endpoints(),
        *RegistryRoutes(services.training).endpoints(),
        *TrainingRoutes(services.training).endpoints(),
    ]


def describe(rest: FastAPI) -> dict[str, Any]:
    """OpenAPI, once every route is known."""
    return rest.openapi()


def version() -> str:
    """The version of the installed package."""
    return metadata.version("coincast-gateway")
