"""Backends that die and freeze under load: what callers notice, in figures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio
import orjson
import pytest

from coincast.market.v1 import market_pb2_grpc
from coincast_chassis.errors import CoincastError
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.grpc.server import SERVER_OPTIONS
from tests.contract.chassis_toy import NAME
from tests.contract.chassis_toy import REQUEST as TOY_REQUEST

pytestmark = pytest.mark.faults

TOY = Path(__file__).resolve().parents[1] / "contract" / "chassis_toy.py"
Start = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, str]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts toys as processes; ends those that still run."""
    running: list[asyncio.subprocess.Process] = []

    async def begin(**settings: object) -> tuple[asyncio.subprocess.Process, str]:
        environment = {**os.environ, **{f"TOY_{k.upper()}": str(v) for k, v in settings.items()}}
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(TOY), env=environment, stdout=asyncio.subprocess.PIPE
        )
        running.append(process)
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if line.startswith(b"{") and (event := orjson.loads(line))["event"] == "serving":
                return process, event["address"]
        raise AssertionError("the toy did not serve")

    yield begin
    for process in running:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def load(
    stub: market_pb2_grpc.MarketDataServiceAsyncStub, seconds: float, callers: int = 20
) -> tuple[int, list[str]]:
    """Calls made by `callers` in a row each, and the errors among them."""
    calls, errors, until = 0, [], time.monotonic() + seconds

    async def one() -> None:
        nonlocal calls
        while time.monotonic() < until:
            calls += 1
            try:
                await stub.GetStatus(TOY_REQUEST)
            except (CoincastError, grpc.aio.AioRpcError) as error:
                errors.append(str(error))

    await asyncio.gather(*(one() for _ in range(callers)))
    return calls, errors


async def test_a_kill_of_one_of_two_backends_under_20_callers(start):
    doomed, first = await start(sleep_seconds=0.01)
    _, second = await start(sleep_seconds=0.01)
    async with open_channel(f"ipv4:{first},{second}", service=NAME) as channel:
        running = asyncio.create_task(load(market_pb2_grpc.MarketDataServiceStub(channel), 3.0))
        await asyncio.sleep(1.0)
        doomed.kill()
        calls, errors = await running
    async with grpc.aio.insecure_channel(second) as bare:
        assert (await market_pb2_grpc.MarketDataServiceStub(bare).GetStatus(TOY_REQUEST)).version
    print(f"kill -9 of one of two under 20 callers: {len(errors)} errors in {calls} calls (limit 0)")
    assert errors == []


async def test_a_stop_of_one_of_two_backends_under_20_callers(start):
    leaving, first = await start(sleep_seconds=0.01)
    _, second = await start(sleep_seconds=0.01)
    async with open_channel(f"ipv4:{first},{second}", service=NAME) as channel:
        running = asyncio.create_task(load(market_pb2_grpc.MarketDataServiceStub(channel), 3.0))
        await asyncio.sleep(1.0)
        leaving.terminate()
        calls, errors = await running
        assert await leaving.wait() == 0
    print(f"SIGTERM to one of two under 20 callers: {len(errors)} errors in {calls} calls (limit 0)")
    assert errors == []


@pytest.mark.alone
async def test_a_frozen_backend_is_noticed(start):
    frozen, address = await start()
    async with open_channel(address, service=NAME) as channel:
        stub = market_pb2_grpc.MarketDataServiceStub(channel)
        await stub.GetStatus(TOY_REQUEST)
        os.kill(frozen.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(CoincastError) as caught:
            await stub.GetStatus(TOY_REQUEST, timeout=60.0)
        took = time.monotonic() - began
    print(f"frozen backend noticed after {took:.1f} s (limit 2; 70 with the defaults): {caught.value.kind}")
    assert took < 2


async def test_an_idle_connection_is_not_taken_for_an_attack():
    # Without the age at which connections end anyway, which would come before the pings were too many.
    ageless = [option for option in SERVER_OPTIONS if option[0] != "grpc.max_connection_age_ms"]
    server = grpc.aio.server(options=ageless)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", service=NAME) as channel:
        with contextlib.suppress(CoincastError):  # it serves nothing, but is connected after this
            await market_pb2_grpc.MarketDataServiceStub(channel).GetStatus(TOY_REQUEST)
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 15.5)
        held = time.monotonic() - began
    await server.stop(None)
    print(f"idle with a ping every 3 s: the connection held for {held:.1f} s (limit 15)")
    assert held > 15


async def test_a_backend_that_comes_back_is_found(start):
    process, address = await start()
    async with open_channel(address, service=NAME) as channel:
        stub = market_pb2_grpc.MarketDataServiceStub(channel)
        await stub.GetStatus(TOY_REQUEST)
        process.kill()
        await process.wait()
        await asyncio.sleep(3.0)
        await start(port=address.rsplit(":", 1)[1])
        began = time.monotonic()
        while True:
            try:
                await stub.GetStatus(TOY_REQUEST)
                break
            except CoincastError:
                await asyncio.sleep(0.05)
        took = time.monotonic() - began
    print(f"backend back after 3 s away: answers again after {took:.2f} s (limit 3)")
    assert took < 3
