"""A whole market-data service in this process, over the sandbox, for contract tests, faults and benches."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
import httpx2

from coincast.market.v1 import market_pb2_grpc
from coincast_chassis.app import ServiceApp
from coincast_chassis.clock import Clock
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.run import serve
from coincast_market_data.app import build
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.settings import Settings, UpstreamName
from coincast_sandbox.app import SandboxOptions
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.testing import RunningSandbox, running_sandbox

SERVICE = "coincast.market.v1.MarketDataService"
# Nothing listens there: without Redis unless a test brings one.
NO_REDIS = "redis://127.0.0.1:1/0"


class Stall:
    """How late the machine woke a task that had nothing to do: what no service in this process can be
    faster than.
    """

    def __init__(self) -> None:
        self.worst_seconds = 0.0

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.01)
            self.worst_seconds = max(self.worst_seconds, time.perf_counter() - started - 0.01)

    def on_top_of(self, seconds: float) -> float:
        """A bound for a call of several steps, each of which the machine may hold up."""
        return seconds + 6 * self.worst_seconds


@asynccontextmanager
async def watched_machine() -> AsyncIterator[Stall]:
    """Measures the stalls of the block, to hold bounds against in the same run."""
    stall = Stall()
    task = asyncio.create_task(stall.watch())
    try:
        yield stall
    finally:
        task.cancel()


@contextmanager
def no_collector() -> Iterator[None]:
    """For the block no garbage is collected.

    In a process of many tests a collection takes 0.1 s and more, which a call would be blamed for.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def pro_sandbox(data: Path | None = None, wall: Callable[[], float] = time.time) -> Iterator[RunningSandbox]:
    """A sandbox whose plan reaches back without end; `wall` gives its time of day, in UNIX seconds."""
    options = SandboxOptions(data=data, plan=ApiPlan("pro", reach_days=0), wall=wall)
    with running_sandbox(options) as sandbox:
        yield sandbox


class HasAddress(Protocol):
    """An upstream at an address: the running sandbox, or a mock of CoinGecko."""

    @property
    def base_url(self) -> str: ...


def settings_for(sandbox: HasAddress, archive: Path, **changes: Any) -> Settings:
    """Settings of a service on the sandbox; quick where waiting teaches nothing."""
    values: dict[str, Any] = {
        "port": 0,
        "upstream": UpstreamName.SANDBOX,
        "upstream_url": sandbox.base_url,
        "plan": PlanName.PRO,
        "api_key": "test",
        "per_minute_limit": 100_000,
        "per_month_limit": 0,
        "archive_dir": archive,
        "redis_url": NO_REDIS,
        # A busy machine starves the server beside the test; the cost of a silent one has its own tests.
        "redis_patience_seconds": 1.5,
        "batch_window_seconds": 0.02,
        "background_refresh": False,
        "warm_ids": (),
        "not_serving_seconds": 0.0,
        "drain_seconds": 1.0,
    }
    return Settings(**(values | changes))


@asynccontextmanager
async def running_market(
    settings: Settings,
    *,
    clock: Clock | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncIterator[Any]:
    """The service over real gRPC on a free port; `clock` is the machine's where it is not right, `transport`
    what it calls its upstream over where that is no network.
    """

    async def built(given: Settings, stack: AsyncExitStack) -> ServiceApp:
        return await build(given, stack, transport=transport, clock=clock)

    async with serve("market-data", settings, built) as address:
        channel = open_channel(address, service=SERVICE)
        try:
            stub: Any = market_pb2_grpc.MarketDataServiceStub(channel)
            # For tests that bring a second client.
            stub.address = address
            yield stub
        finally:
            await channel.close()


@asynccontextmanager
async def another_client(address: str) -> AsyncIterator[Any]:
    """A client with a connection of its own: channels of one process share theirs otherwise."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield market_pb2_grpc.MarketDataServiceStub(channel)
