"""Shared parts of the benchmarks of forecasts.

They are a market-data service over given candles, the forecast service as a process, and an echo server that
returns one fixed reply.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
from forecast_versions import DATA, panel_of

from coincast.common.v1 import common_pb2
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import (
    ForecastServiceServicer,
    ForecastServiceStub,
    add_ForecastServiceServicer_to_server,
)
from coincast.market.v1 import market_pb2
from coincast.market.v1.market_pb2_grpc import (
    MarketDataServiceServicer,
    add_MarketDataServiceServicer_to_server,
)
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.grpc.health import Health
from coincast_chassis.grpc.server import SERVER_OPTIONS
from coincast_modelkit.candles import Candles

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests/unit/forecast"))
from forecast_process import FULL_NAME, Running, forecast_process, process

MARKET_NAME = "coincast.market.v1.MarketDataService"


class Market(MarketDataServiceServicer):
    """Serve the candles of a panel; a coin called `like-N` is a coin of the panel under another name."""

    def __init__(self, panel: dict[str, Candles]) -> None:
        self._panel, self._names = panel, sorted(panel)

    async def GetHistory(self, request: Any, context: Any) -> market_pb2.GetHistoryResponse:  # noqa: N802 - gRPC
        """Return the history of one coin."""
        return market_pb2.GetHistoryResponse(history=self._history(request.id, request.days))

    async def StreamHistory(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - gRPC
        """Stream the histories of the requested coins."""
        for coin in request.ids:
            yield market_pb2.StreamHistoryResponse(history=self._history(coin, request.days))

    def _history(self, coin: str, days: int) -> market_pb2.History:
        like = coin.removeprefix("like-")
        name = self._names[int(like) % len(self._names)] if like.isdigit() else coin
        candles = self._panel[name].tail(days)
        rows = zip(
            candles.dates, candles.open, candles.high, candles.low, candles.close, candles.volume, strict=True
        )
        return market_pb2.History(
            id=coin,
            vs_currency="usd",
            candles=[
                market_pb2.Candle(date=str(d), open=o, high=h, low=lo, close=c, volume=v)
                for d, o, h, lo, c, v in rows
            ],
            provenance=common_pb2.Provenance(source=common_pb2.SOURCE_ARCHIVE),
        )


@asynccontextmanager
async def market(panel: dict[str, Candles] | None = None) -> AsyncIterator[str]:
    """Run the market and yield its address; without a panel it serves the daily candles of DATA."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_MarketDataServiceServicer_to_server(Market(panel_of(DATA) if panel is None else panel), server)
    health = Health([MARKET_NAME])
    port = server.add_insecure_port("127.0.0.1:0")
    await health.join(server)
    await server.start()
    await health.serving(True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def forecast_service(
    target: str, artifacts: Path, **settings: Any
) -> AsyncIterator[tuple[ForecastServiceStub, Running]]:
    """Run the forecast service as a process, and yield a stub to it and the process.

    Args:
        target: The address of market-data.
        artifacts: The folder of model versions.
        settings: Further settings of the service, by their names in lower case.
    """
    with tempfile.TemporaryDirectory() as spool:
        async with (
            forecast_process(target, artifacts, Path(spool), **settings) as running,
            open_channel(running.address, service=FULL_NAME, timeout_seconds=60) as channel,
        ):
            yield ForecastServiceStub(channel), running


class Echo(ForecastServiceServicer):
    """Return one fixed reply, through the interceptors and the encoding of every service."""

    def __init__(self, reply: pb.GetForecastsResponse) -> None:
        self._reply = reply

    async def GetForecasts(self, request: Any, context: Any) -> pb.GetForecastsResponse:  # noqa: N802 - gRPC
        """Return the reply."""
        return self._reply


@asynccontextmanager
async def echo(reply: pb.GetForecastsResponse) -> AsyncIterator[tuple[ForecastServiceStub, Running]]:
    """Run a process that returns this reply through the chassis, and yield a stub to it and the process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reply.bin"
        file.write_bytes(reply.SerializeToString())
        command = (sys.executable, __file__)
        async with (
            process(command, ECHO_REPLY=file, ECHO_PORT=0, ECHO_METRICS_PORT=0) as running,
            open_channel(running.address, service=FULL_NAME) as channel,
        ):
            yield ForecastServiceStub(channel), running


async def time_calls(call: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Return the seconds of each of this many calls, one after another."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - began)
    return seconds


async def interleaved(
    calls: dict[str, Callable[[], Awaitable[Any]]], *, rounds: int, times: int
) -> dict[str, float]:
    """Measure the calls in interleaved rounds, so that a busy moment of the machine affects all of them.

    Returns:
        By name of the call, the median over the rounds of the median seconds within a round.
    """
    medians: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            medians[name].append(statistics.median(await time_calls(call, times)))
    return {name: statistics.median(values) for name, values in medians.items()}


def _run_echo() -> None:
    from pydantic_settings import SettingsConfigDict

    from coincast_chassis.run import run_service
    from coincast_chassis.settings import ServiceSettings

    class Settings(ServiceSettings):
        model_config = SettingsConfigDict(env_prefix="ECHO_", extra="ignore")
        reply: Path

    async def build(settings: Any, _stack: Any) -> ServiceApp:
        reply = pb.GetForecastsResponse.FromString(settings.reply.read_bytes())
        return ServiceApp([Servicer(add_ForecastServiceServicer_to_server, Echo(reply), FULL_NAME)])

    run_service("echo", Settings, build)


if __name__ == "__main__":
    _run_echo()
