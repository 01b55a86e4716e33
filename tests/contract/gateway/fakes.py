"""Fakes of the three services for tests of the gateway: in process, over real gRPC, scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

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


@dataclass
class World:
    """The gateway's address, and the fakes behind it."""

    url: str
    market: FakeMarket
    forecast: FakeForecast
    training: FakeTraining
    targets: dict[str, str]


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
            **targets,
            **settings,
        }
        url = await stack.enter_async_context(serve(Settings(**given)))
        yield World(url, market, forecast, training, targets)


@asynccontextmanager
async def _served(add: Any, servicer: Any, name: str) -> AsyncIterator[str]:
    async def build(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        return ServiceApp([Servicer(add, servicer, name)])

    async with serve_grpc(
        name, ServiceSettings(port=0, not_serving_seconds=0, drain_seconds=0), build
    ) as address:
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

    async with serve_grpc(
        "training", ServiceSettings(port=0, not_serving_seconds=0, drain_seconds=0), build
    ) as address:
        yield address
