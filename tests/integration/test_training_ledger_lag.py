"""A ledger's lag is the age of the oldest entry that is not on disk, also before the first was taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from coincast_chassis.redis import open_redis
from coincast_modelkit.ledger import RISK_STREAM_KEY, STREAM_FIELD, STREAM_KEY
from coincast_training.scoring.consumer import StreamConsumer
from tests.contract.valkey_harness import RunningValkey, running_valkey
from tests.unit.training.training_ledger_rows import watch_of

AGE_SECONDS = 90


@pytest.fixture
def server() -> Iterator[RunningValkey]:
    with running_valkey() as running:
        yield running


def shown(gauge: str, unit: str) -> float | None:
    """What Prometheus reads."""
    return REGISTRY.get_sample_value(f"coincast_training_{gauge}_{unit}")


@pytest.mark.parametrize(
    ("stream_key", "gauge", "prefix"),
    [(STREAM_KEY, "ledger_lag", ""), (RISK_STREAM_KEY, "risk_lag", "risk_")],
)
async def test_lag_is_the_age_of_the_oldest_waiting_entry(
    stream_key: str, gauge: str, prefix: str, server: RunningValkey, tmp_path: Path
) -> None:
    redis = open_redis(server.url, timeout_seconds=2)
    consumer = StreamConsumer(redis, stream_key, lambda messages: None, consumer="one")
    seconds, _ = await redis.time()
    await redis.xadd(stream_key, {STREAM_FIELD: "no entry"}, id=f"{(seconds - AGE_SECONDS) * 1000}-0")

    before = await consumer.lag()
    assert before.entries == 1
    assert before.seconds == pytest.approx(AGE_SECONDS, abs=30)

    sources: dict[str, Any] = {"risk" if prefix else "consumer": consumer}
    watch = watch_of(tmp_path, **sources)
    status = await watch.status()
    assert (shown(gauge, "entries"), getattr(status, f"{prefix}lag_entries")) == (1, 1)
    assert shown(gauge, "seconds") == pytest.approx(AGE_SECONDS, abs=30)
    assert getattr(status, f"{prefix}lag_seconds") == shown(gauge, "seconds")

    assert await consumer.take() == 1
    await watch.status()
    assert (shown(gauge, "entries"), shown(gauge, "seconds")) == (0, 0)
    after = await consumer.lag()
    assert (after.entries, after.seconds) == (0, None)
    await redis.aclose()
