"""The ledger's lag is the age of the oldest entry that is not on disk, also before the first was taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from coincast_chassis.redis import open_redis
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY
from coincast_training.scoring.consumer import LedgerConsumer
from coincast_training.scoring.lag import LedgerWatch
from coincast_training.scoring.store import LedgerStore
from tests.contract.valkey_harness import RunningValkey, running_valkey

AGE_SECONDS = 90


@pytest.fixture
def server() -> Iterator[RunningValkey]:
    with running_valkey() as running:
        yield running


def shown(unit: str) -> float | None:
    """What Prometheus reads."""
    return REGISTRY.get_sample_value(f"coincast_training_ledger_lag_{unit}")


async def test_lag_is_the_age_of_the_oldest_waiting_entry(server: RunningValkey, tmp_path: Path) -> None:
    redis = open_redis(server.url, timeout_seconds=2)
    consumer = LedgerConsumer(redis, tmp_path, consumer="one")
    seconds, _ = await redis.time()
    await redis.xadd(STREAM_KEY, {STREAM_FIELD: "no entry"}, id=f"{(seconds - AGE_SECONDS) * 1000}-0")

    before = await consumer.lag()
    assert before.entries == 1
    assert before.seconds == pytest.approx(AGE_SECONDS, abs=30)

    watch = LedgerWatch(consumer, LedgerStore(tmp_path))
    await watch.status()
    assert shown("entries") == 1
    assert shown("seconds") == pytest.approx(AGE_SECONDS, abs=30)

    assert await consumer.take() == 1
    await watch.status()
    assert (shown("entries"), shown("seconds")) == (0, 0)
    after = await consumer.lag()
    assert (after.entries, after.seconds) == (0, None)
    await redis.aclose()
