"""The forecast service as a process, under what happens to processes: kills, stops, deadlines, lost
networks.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceStub
from coincast_chassis.grpc.channel import open_channel
from tests.faults.forecast_load import ASK, Load, eventually, serving
from tests.unit.forecast import forecast_fakes
from tests.unit.forecast.forecast_artifacts import move, tiny_lightgbm, write_version
from tests.unit.forecast.forecast_fakes import COINS, FakeMarket, market_server, walk
from tests.unit.forecast.forecast_process import FULL_NAME, Running, forecast_process

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]


@pytest.fixture
async def target() -> AsyncIterator[str]:
    async with market_server(FakeMarket()) as address:
        yield address


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "artifacts"
    move(root, production=write_version(root, tiny_lightgbm(1)))
    return root


def p99_ms(seconds: list[float]) -> float:
    return 1e3 * statistics.quantiles(seconds, n=100)[98]


def open_files(running: Running) -> int:
    return len(list(Path(f"/proc/{running.child.pid}/fd").iterdir()))


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
            await eventually(partial(_all_see, load, wanted), wanted)
        await load.end()
    print(
        f"\nswap under load: {len(load.seconds)} calls, errors {len(load.errors)}, halves {load.halves}; ",
        end="",
    )
    print(f"p99 {p99_ms(load.seconds):.1f} ms during 3 swaps, {p99_ms(quiet):.1f} ms before")
    assert (load.errors, load.halves) == ([], 0)
    # Whoever was shown a version is shown no earlier one again.
    assert [list(seen) for seen in load.seen] == [sorted(seen) for seen in load.seen]
    assert [set(seen) for seen in load.seen] == [{f"v{n:06d}" for n in (1, 2, 3, 4)}] * 8
    # A version's name stands over its own numbers: one forecast a coin and version, no two versions the same.
    assert {len(numbers) for numbers in load.numbers.values()} == {1}
    assert len(set.union(*load.numbers.values())) == 2 * 4


async def _all_see(load: Load, version: str) -> bool:
    return all(seen[-1:] == [version] for seen in load.seen)


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


async def test_sigterm_with_calls_in_flight_drops_none_twenty_times(root: Path, tmp_path: Path) -> None:
    """Calls for coins whose history is slow outlast the pause before the drain; only it can end them."""
    cold = [f"coin-{number}" for number in range(20)]
    market = FakeMarket({coin: walk(coin) for coin in (*COINS, *cold)})
    asks = [pb.GetForecastsRequest(ids=[coin], days=30, model="lightgbm") for coin in cold]
    dropped: list[str] = []
    served: list[tuple[str, str]] = []
    pending: list[int] = []
    async with market_server(market) as target:
        for _ in range(20):
            market.delay_seconds = 0
            where = (target, root, tmp_path / "spool")
            async with serving(*where, not_serving_seconds=0.05) as (stub, running):
                await stub.GetForecasts(ASK)
                market.delay_seconds, market.calls = 1, []
                calls = [asyncio.ensure_future(stub.GetForecasts(ask, timeout=15)) for ask in asks]
                await eventually(lambda: _requested(market, cold), "all calls")
                running.child.terminate()
                await until_closed(running.address)
                pending.append(sum(not call.done() for call in calls))
                for outcome in await asyncio.gather(*calls, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        dropped.append(repr(outcome))
                    else:
                        served += [(forecast.served_by, forecast.version) for forecast in outcome.forecasts]
                assert await asyncio.wait_for(running.child.wait(), 20) == 0
    print(f"\nSIGTERM with calls in flight, 20 times: {len(served)} answered, ", end="")
    print(f"{len(dropped)} dropped; ", end="")
    print(f"{min(pending)} to {max(pending)} of {len(cold)} pending as the drain began")
    assert dropped == []
    assert min(pending) > 0
    assert served == [("lightgbm", "v000001")] * 20 * len(cold)


async def _requested(market: FakeMarket, coins: list[str]) -> bool:
    return set(coins) <= {coin for _, ids, _ in market.calls for coin in ids}


async def until_closed(address: str) -> None:
    """Wait until the port is closed: the drain has begun."""
    host, port = address.rsplit(":", 1)
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
        async with asyncio.timeout(20):
            while True:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                await asyncio.sleep(0.005)


async def test_clients_that_cancel_leave_nothing_behind(target: str, root: Path, tmp_path: Path) -> None:
    async with serving(target, root, tmp_path / "spool") as (stub, running):
        await stub.GetForecasts(ASK)
        files = open_files(running)
        for number in range(300):
            call = asyncio.ensure_future(stub.GetForecasts(pb.GetForecastsRequest(ids=[COINS[number % 10]])))
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
