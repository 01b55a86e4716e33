"""Fakes of the three services for tests of the gateway: in process, over real gRPC, scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from coincast.forecast.v1 import forecast_pb2_grpc as fc_rpc
from coincast.market.v1 import market_pb2_grpc as mk_rpc
from coincast.training.v1 import training_pb2_grpc as tr_rpc
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.run import serve as serve_grpc
from coincast_chassis.settings import ServiceSettings
from coincast_gateway.server import serve
from coincast_gateway.settings import Settings
from tests.contract.gateway.fake_forecast import FakeForecast
from tests.contract.gateway.fake_market import FakeMarket
from tests.contract.gateway.fake_training import FakeTraining

# How long a test waits for a reply. The first table loads pyarrow, which takes seconds on a busy machine.
PATIENCE_SECONDS = 60.0
SERVING = ServiceSettings(port=0, not_serving_seconds=0, drain_seconds=0)


@dataclass
class World:
    """The gateway's address, and the fakes behind it."""

    url: str
    market: FakeMarket
    forecast: FakeForecast
    training: FakeTraining
    targets: dict[str, str]


def client_of(there: World) -> httpx2.AsyncClient:
    """A client that waits as long as a test does."""
    return httpx2.AsyncClient(base_url=there.url, trust_env=False, timeout=PATIENCE_SECONDS)


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    """A gateway on a free port over three fakes."""
    market, forecast, training = FakeMarket(), FakeForecast(), FakeTraining()
    async with AsyncExitStack() as stack:
        add_market, add_forecast = (
            mk_rpc.add_MarketDataServiceServicer_to_server,
            fc_rpc.add_ForecastServiceServicer_to_server,
        )
        serving = {
            "market_target": _served(add_market, market, "coincast.market.v1.MarketDataService"),
            "forecast_target": _served(add_forecast, forecast, "coincast.forecast.v1.ForecastService"),
            "training_target": _training(training),
        }
        targets = {name: await stack.enter_async_context(each) for name, each in serving.items()}
        given = {
            "redis_url": "",
            "port": 0,
            "metrics_port": 0,
            "not_serving_seconds": 0,
            # A busy machine may starve this process for seconds: a test of a deadline gives its own.
            "market_deadline_seconds": PATIENCE_SECONDS,
            "forecast_deadline_seconds": PATIENCE_SECONDS,
            "training_deadline_seconds": PATIENCE_SECONDS,
            **targets,
            **settings,
        }
        url = await stack.enter_async_context(serve(Settings(**given)))
        yield World(url, market, forecast, training, targets)


@asynccontextmanager
async def _served(add: Any, servicer: Any, name: str) -> AsyncIterator[str]:
    async def build(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        return ServiceApp([Servicer(add, servicer, name)])

    async with serve_grpc(name, SERVING, build) as address:
        yield address


@asynccontextmanager
async def _training(servicer: FakeTraining) -> AsyncIterator[str]:
    async def build(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        return ServiceApp(
            [
                Servicer(
                    tr_rpc.add_TrainingServiceServicer_to_server,
                    servicer,
                    "coincast.training.v1.TrainingService",
                ),
                Servicer(
                    tr_rpc.add_RegistryServiceServicer_to_server,
                    servicer,
                    "coincast.training.v1.RegistryService",
                ),
                Servicer(
                    tr_rpc.add_AccuracyServiceServicer_to_server,
                    servicer,
                    "coincast.training.v1.AccuracyService",
                ),
            ]
        )

    async with serve_grpc("training", SERVING, build) as address:
        yield address
