"""The stream is trimmed of what is on disk, and of nothing else."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from coincast_chassis.redis import open_redis
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY
from coincast_training.scoring.consumer import KEPT_ACKNOWLEDGED, LedgerConsumer
from tests.contract.valkey_harness import running_valkey
from tests.unit.training.training_ledger_rows import watch_of

COUNT = KEPT_ACKNOWLEDGED + 3000


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    with running_valkey() as server:
        client = open_redis(server.url, timeout_seconds=5)
        yield client
        await client.aclose()


async def appended(redis: Redis, count: int = COUNT) -> list[bytes]:
    pipeline = redis.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd(STREAM_KEY, {STREAM_FIELD: "no entry"})
    return await pipeline.execute()


async def test_what_is_on_disk_goes_but_for_the_newest(redis: Redis, tmp_path: Path) -> None:
    consumer = LedgerConsumer(redis, tmp_path, consumer="one")
    await appended(redis)
    while await consumer.take():
        pass
    await consumer.trim()
    # Redis lets go of whole nodes of a hundred entries or so.
    assert KEPT_ACKNOWLEDGED <= await redis.xlen(STREAM_KEY) < KEPT_ACKNOWLEDGED + 500


async def test_nothing_goes_while_the_number_of_waiting_entries_is_unknown(
    redis: Redis, tmp_path: Path
) -> None:
    consumer = LedgerConsumer(redis, tmp_path, consumer="one")
    assert await consumer.take() == 0  # the group stands before the first entry
    ids = await appended(redis)
    await redis.xdel(STREAM_KEY, ids[COUNT // 2])
    (group,) = await redis.xinfo_groups(STREAM_KEY)
    assert group["lag"] is None
    await consumer.trim()
    assert await redis.xlen(STREAM_KEY) == COUNT - 1

    status = await watch_of(tmp_path, consumer).status()
    assert status.lag_seconds >= 0
    lag = REGISTRY.get_sample_value("coincast_training_ledger_lag_entries")
    assert lag is not None
    assert math.isnan(lag)
    while await consumer.take():
        pass
    assert (await consumer.lag()).entries == 0
