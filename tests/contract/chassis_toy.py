"""A small service for tests of the chassis: GetStatus answers as configured.

Run by its path it is a process of its own; its settings begin with TOY_.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic_settings import SettingsConfigDict

from coincast.market.v1 import market_pb2, market_pb2_grpc
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.errors import Unavailable
from coincast_chassis.run import run_service, serve
from coincast_chassis.settings import ServiceSettings

NAME = "coincast.market.v1.MarketDataService"
REQUEST = market_pb2.GetStatusRequest()


class Toy(market_pb2_grpc.MarketDataServiceServicer):
    """Counts its calls; sleeps, raises or answers with a long version as configured."""

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.calls = 0
        self.sleep_seconds = 0.0
        self.error: Exception | None = None

    async def GetStatus(self, request, context):
        self.calls += 1
        await asyncio.sleep(self.sleep_seconds)
        if self.error is not None:
            raise self.error
        return market_pb2.GetStatusResponse(version=self.version)


@asynccontextmanager
async def served(toy: Toy, **settings: object) -> AsyncIterator[str]:
    """The toy, serving at the address it yields."""

    async def build(_settings: ServiceSettings, _stack: AsyncExitStack) -> ServiceApp:
        return ServiceApp([Servicer(market_pb2_grpc.add_MarketDataServiceServicer_to_server, toy, NAME)])

    values: dict[str, Any] = {"not_serving_seconds": 0.3, **settings}
    async with serve("toy", ServiceSettings(**values), build) as address:
        yield address


class ToySettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TOY_")

    sleep_seconds: float = 0.0
    fail_warm_ups: int = 0


async def build(settings: ToySettings, stack: AsyncExitStack) -> ServiceApp:
    """One toy whose version is its process id, and that says on stdout when it closes."""
    toy, failures = Toy(version=str(os.getpid())), [None] * settings.fail_warm_ups
    toy.sleep_seconds = settings.sleep_seconds
    stack.callback(print, "first opened, last closed", flush=True)
    stack.callback(print, "last opened, first closed", flush=True)

    async def warm() -> None:
        if failures:
            failures.pop()
            raise Unavailable("Redis is not there yet.")

    return ServiceApp([Servicer(market_pb2_grpc.add_MarketDataServiceServicer_to_server, toy, NAME)], warm)


if __name__ == "__main__":
    run_service("toy", ToySettings, build)
