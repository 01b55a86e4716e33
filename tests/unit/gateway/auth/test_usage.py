"""Usage by key: counted a day, held against a month, and never lost while Redis is away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from coincast_chassis.clock import ManualClock
from coincast_gateway.auth.usage import UsageRecorder

DAY = 86_400.0
START = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()


class DeadRedis:
    """Refuses every command."""

    def pipeline(self, **_: Any) -> Any:
        raise RedisConnectionError("away")


def clock_at(unix: float) -> ManualClock:
    return ManualClock(now=unix)


async def test_calls_rows_and_bytes_are_counted_by_key_and_day() -> None:
    clock = clock_at(START)
    usage = UsageRecorder(None, clock)
    usage.record("a", rows=3, size=100)
    usage.record("a", rows=0, size=20)
    usage.record("b", rows=1, size=5)
    clock.advance(DAY)
    usage.record("a", rows=2, size=7)
    found = await usage.days(35)
    figures = {
        (key, day): (each.calls, each.rows, each.bytes)
        for key, days in found.items()
        for day, each in days.items()
    }
    assert figures == {
        ("a", "2026-11-29"): (2, 3, 120),
        ("a", "2026-11-30"): (1, 2, 7),
        ("b", "2026-11-29"): (1, 1, 5),
    }
    assert set(await usage.days(1)) == {"a"}


async def test_the_month_begins_again() -> None:
    clock = clock_at(START)
    usage = UsageRecorder(None, clock)
    usage.record("a", rows=0, size=0)
    assert (usage.month_calls("a"), usage.month_calls("b")) == (1, 0)
    assert usage.seconds_to_next_month() == 1.5 * DAY
    clock.advance(2 * DAY)
    assert usage.month_calls("a") == 0


async def test_what_redis_does_not_take_is_kept() -> None:
    clock = clock_at(START)
    usage = UsageRecorder(DeadRedis(), clock)  # type: ignore[arg-type]  # the part that is used
    for _ in range(3):
        usage.record("a", rows=1, size=10)
        await usage.flush()
    assert usage.month_calls("a") == 3
    assert (await usage.days(1))["a"]["2026-11-29"].bytes == 30


@pytest.mark.parametrize("names", [1, 30_000])
async def test_pending_keys_are_bounded_and_forgotten(names: int) -> None:
    clock = clock_at(START)
    usage = UsageRecorder(None, clock)
    for number in range(names):
        usage.record(f"key-{number}", rows=0, size=0)
    assert len(await usage.days(1)) == min(names, 10_000)
    clock.advance(40 * DAY)
    await usage.flush()
    assert await usage.days(35) == {}
