"""The forecast service as a process under load: what its fault tests share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceStub
from coincast_chassis.errors import CoincastError
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.resilience.cancellation import cancel_and_wait
from tests.unit.forecast.forecast_process import FULL_NAME, Running, forecast_process

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub

ASK = pb.GetForecastsRequest(ids=["bitcoin", "ethereum"], days=7, model="lightgbm")


@contextlib.asynccontextmanager
async def serving(*where: Any, **settings: Any) -> AsyncIterator[tuple[ForecastServiceAsyncStub, Running]]:
    """The service as a process and a stub to it."""
    async with (
        forecast_process(*where, **settings) as running,
        open_channel(running.address, service=FULL_NAME) as channel,
    ):
        yield ForecastServiceStub(channel), running


async def eventually(check: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    """Until it is so."""
    began = time.monotonic()
    while not await check():
        assert time.monotonic() - began < seconds, f"{what} did not come within {seconds} s"
        await asyncio.sleep(0.1)


class Load:
    """Callers who ask without pause, and what became of their calls."""

    def __init__(self, stub: ForecastServiceAsyncStub, callers: int) -> None:
        self._stub = stub
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.halves = 0
        # What each caller was shown, version by version as the replies came.
        self.seen: list[list[str]] = [[] for _ in range(callers)]
        # The numbers that came under the name of a version.
        self.numbers: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        self._tasks = [asyncio.create_task(self._ask(seen)) for seen in self.seen]

    async def _ask(self, seen: list[str]) -> None:
        while True:
            began = time.perf_counter()
            try:
                reply = await self._stub.GetForecasts(ASK, timeout=20)
            except CoincastError as error:
                self.errors.append(f"{error.kind}: {error.message}")
                await asyncio.sleep(0.05)
                continue
            self.seconds.append(time.perf_counter() - began)
            self._look(reply, seen)

    def _look(self, reply: pb.GetForecastsResponse, seen: list[str]) -> None:
        self.errors += [error.message for error in reply.errors]
        versions = {forecast.version for forecast in reply.forecasts}
        if len(versions) != 1 or len(reply.forecasts) != len(ASK.ids):
            self.halves += 1
            return
        seen.append(versions.pop())
        for forecast in reply.forecasts:
            points = b"".join(point.SerializeToString(deterministic=True) for point in forecast.points)
            self.numbers[forecast.id, forecast.version].add(points)

    async def end(self) -> None:
        """No further calls; none of the callers may have ended before."""
        await cancel_and_wait(self._tasks)
        for task in self._tasks:
            assert task.cancelled(), task
