"""FastAPI dependencies that inject the components of the running gateway into handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from coincast_chassis.clock import Clock, steady_clock
from coincast_gateway.auth.api_keys import ApiKeyCache
from coincast_gateway.auth.usage import UsageRecorder
from coincast_gateway.cache.last_known import LastKnownResponses
from coincast_gateway.clients.forecast import ForecastClient
from coincast_gateway.clients.market import MarketClient
from coincast_gateway.clients.training import TrainingClient
from coincast_gateway.experiments import ExperimentAssigner
from coincast_gateway.formats.exports import ExportSlots
from coincast_gateway.formats.sse import EventStreams
from coincast_gateway.health.service import HealthService
from coincast_gateway.settings import Settings
from coincast_gateway.web.assets import Assets


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The components that handlers may depend on; one instance per application, in `app.state.services`."""

    market: MarketClient
    forecasts: ForecastClient
    training: TrainingClient
    settings: Settings
    streams: EventStreams
    experiments: ExperimentAssigner
    health: HealthService
    assets: Assets
    last_forecasts: LastKnownResponses
    exports: ExportSlots = field(default_factory=ExportSlots)
    api_keys: ApiKeyCache = field(default_factory=ApiKeyCache)
    usage: UsageRecorder = field(default_factory=lambda: UsageRecorder(None, steady_clock()))
    clock: Clock = field(default_factory=steady_clock)


def services(request: Request) -> Services:
    """Return the components of the application that answers a request."""
    found: Services = request.app.state.services
    return found


async def market_client(request: Request) -> MarketClient:
    """Return the client of market-data-svc."""
    return services(request).market


async def forecast_client(request: Request) -> ForecastClient:
    """Return the client of forecast-svc."""
    return services(request).forecasts


async def training_client(request: Request) -> TrainingClient:
    """Return the client of training-svc."""
    return services(request).training


async def settings(request: Request) -> Settings:
    """Return the settings."""
    return services(request).settings


async def event_streams(request: Request) -> EventStreams:
    """Return the registry of open event streams."""
    return services(request).streams


async def health_service(request: Request) -> HealthService:
    """Return the health service."""
    return services(request).health


async def assets(request: Request) -> Assets:
    """Return the static files of the pages."""
    return services(request).assets


async def last_forecasts(request: Request) -> LastKnownResponses:
    """Return the cache of the last good forecast response to each request."""
    return services(request).last_forecasts


async def export_slots(request: Request) -> ExportSlots:
    """Return the limiter of concurrent exports."""
    return services(request).exports


async def experiment_bucket(request: Request) -> str:
    """Return the caller's experiment bucket; empty while no experiment runs."""
    experiments = services(request).experiments
    return experiments.bucket(request.scope) if experiments.running else ""


async def service_clock(request: Request) -> Clock:
    """Return the gateway's clock, which does not jump when the clock of the machine is set."""
    return services(request).clock


async def usage_of_keys(request: Request) -> UsageRecorder:
    """Return the recorder of the usage of API keys."""
    return services(request).usage


async def api_keys(request: Request) -> ApiKeyCache:
    """Return the API keys, as of the last refresh."""
    return services(request).api_keys


ApiKeys = Annotated[ApiKeyCache, Depends(api_keys)]
UsageOfKeys = Annotated[UsageRecorder, Depends(usage_of_keys)]
ServiceClock = Annotated[Clock, Depends(service_clock)]
Market = Annotated[MarketClient, Depends(market_client)]
Forecasts = Annotated[ForecastClient, Depends(forecast_client)]
Training = Annotated[TrainingClient, Depends(training_client)]
Config = Annotated[Settings, Depends(settings)]
Streams = Annotated[EventStreams, Depends(event_streams)]
Health = Annotated[HealthService, Depends(health_service)]
StaticFiles = Annotated[Assets, Depends(assets)]
LastForecasts = Annotated[LastKnownResponses, Depends(last_forecasts)]
Exports = Annotated[ExportSlots, Depends(export_slots)]
Bucket = Annotated[str, Depends(experiment_bucket)]
