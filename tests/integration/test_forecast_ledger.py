"""The ledger over a real server: the stream, the spool while Redis is away, and the way back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from coincast_chassis.redis import open_redis
from coincast_forecast.prediction_log.writer import LedgerWriter, Stream, claim_own
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY, LedgerEntry
from tests.contract.valkey_harness import RunningValkey, running_valkey


def entry(number: int, horizon: int = 1) -> LedgerEntry:
    return LedgerEntry(
        forecast_id=f"{number:032x}",
        made_at=1.0,
        coin_id="bitcoin",
        vs_currency="usd",
        as_of="2025-08-31",
        model="lightgbm",
        version="v000001",
        variant="production",
        served_by="lightgbm",
        horizon_days=horizon,
        last_price=100.0,
        probabilities=(0.1, 0.5, 0.9),
        price_quantiles=(90.0, 100.0, 110.0),
    )


@pytest.fixture
def server() -> Iterator[RunningValkey]:
    with running_valkey() as running:
        yield running


@pytest.fixture
async def client(server: RunningValkey) -> AsyncIterator[Redis]:
    # Longer than the usual 50 ms, which a busy machine exceeds; the entries would then go to the disk.
    client = open_redis(server.url, timeout_seconds=2)
    yield client
    await client.aclose()


@pytest.fixture
async def ledger(client: Redis, tmp_path: Path) -> AsyncIterator[LedgerWriter]:
    writer = LedgerWriter(Stream(client), claim_own(tmp_path, "replica"))
    yield writer
    await writer.aclose()


async def in_stream(client: Redis) -> list[LedgerEntry]:
    messages: Any = await client.xrange(STREAM_KEY)
    return [LedgerEntry.from_json(fields[STREAM_FIELD.encode()]) for _, fields in messages]


async def test_entries_arrive_as_they_were(ledger: LedgerWriter, client: Redis) -> None:
    entries = [entry(n, h) for n in range(3) for h in (1, 7)]
    assert await ledger.append(entries)
    assert await in_stream(client) == entries
    assert ledger.counts().redis_up
    assert (ledger.counts().appended_total, ledger.counts().spooled) == (6, 0)


async def test_a_stopped_redis_costs_little_and_loses_nothing(
    client: Redis, server: RunningValkey, tmp_path: Path
) -> None:
    impatient = open_redis(server.url)
    ledger = LedgerWriter(Stream(impatient), claim_own(tmp_path, "replica"))
    pid = (await client.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.perf_counter()
        assert await ledger.append([entry(1)])
        assert await ledger.append([entry(2)])
        took = time.perf_counter() - began
        await ledger.drain()
        assert (ledger.counts().redis_up, ledger.counts().spooled) == (False, 2)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert took < 10.0, "the client gives up after 50 ms; with redis-py's defaults it would after 58 s"
    await asyncio.sleep(0.2)
    for _ in range(20):
        await ledger.drain()
        if ledger.counts().spooled == 0:
            break
    assert {e.forecast_id for e in await in_stream(client)} == {entry(1).forecast_id, entry(2).forecast_id}
    await ledger.aclose()
    await impatient.aclose()


@pytest.mark.parametrize("noticed", [True, False], ids=["a call fails", "no call in between"])
async def test_what_a_killed_redis_lost_is_delivered_again(
    ledger: LedgerWriter, client: Redis, server: RunningValkey, noticed: bool
) -> None:
    """The server keeps nothing on disk: it stands for one that is killed before its file has the line."""
    await ledger.drain()
    assert await ledger.append([entry(1), entry(2)])
    server.kill()
    if noticed:
        assert await ledger.append([entry(3)])
        await ledger.drain()
        assert ledger.counts().spooled == 3
    server.restart()
    await eventually_drained(ledger)
    kept = {e.forecast_id for e in await in_stream(client)}
    assert kept == {entry(n).forecast_id for n in ((1, 2, 3) if noticed else (1, 2))}


async def test_a_redis_killed_after_the_spool_was_delivered_loses_nothing(
    ledger: LedgerWriter, client: Redis, server: RunningValkey
) -> None:
    server.kill()
    assert await ledger.append([entry(1)])
    server.restart()
    await eventually_drained(ledger)
    assert await in_stream(client) == [entry(1)]
    server.kill()
    server.restart()
    await eventually_drained(ledger)
    assert await in_stream(client) == [entry(1)]


async def test_without_a_disk_what_redis_lost_is_kept_in_memory(
    ledger: LedgerWriter, client: Redis, server: RunningValkey, tmp_path: Path
) -> None:
    await ledger.drain()
    assert await ledger.append([entry(1)])
    shutil.rmtree(tmp_path / "replica")
    server.kill()
    assert not await ledger.append([entry(2)]), "neither Redis nor the disk has it"
    (tmp_path / "replica").mkdir()
    server.restart()
    await eventually_drained(ledger)
    assert await in_stream(client) == [entry(1)]


async def eventually_drained(ledger: LedgerWriter) -> None:
    for _ in range(50):
        await ledger.drain()
        if ledger.counts().redis_up and not ledger.counts().spooled:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the spool was not delivered")


async def test_what_a_dead_replica_left_is_delivered(
    ledger: LedgerWriter, client: Redis, tmp_path: Path
) -> None:
    dead = claim_own(tmp_path, "dead")
    dead.append([entry(7).to_json()])
    dead.release()
    await ledger.drain()
    assert await in_stream(client) == [entry(7)]
    assert not (tmp_path / "dead").exists()


async def test_many_entries_go_in_chunks(ledger: LedgerWriter, client: Redis) -> None:
    entries = [entry(n, h) for n in range(20) for h in range(1, 31)]
    assert await ledger.append(entries)
    assert await client.xlen(STREAM_KEY) == 600


async def test_neither_redis_nor_disk_is_said_not_hidden(tmp_path: Path) -> None:
    client = open_redis("redis://127.0.0.1:1/0")
    folder = claim_own(tmp_path, "gone")
    writer = LedgerWriter(Stream(client), folder)
    shutil.rmtree(folder.folder)
    assert not await writer.append([entry(1)])
    await writer.aclose()
    await client.aclose()
