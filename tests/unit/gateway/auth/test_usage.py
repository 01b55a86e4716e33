"""Usage by key: counted a day, held against a month, and never lost while Redis is away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

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


class PoisonedRedis:
    """A Redis in which one counter of the key `a` is no number; its pipeline executes the other commands."""

    def __init__(self) -> None:
        self.fields: dict[tuple[str, str], int] = {}
        self.extra: dict[bytes, bytes] = {}

    def pipeline(self, **_: Any) -> PoisonedPipeline:
        return PoisonedPipeline(self)

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        found = {name.encode(): str(n).encode() for (of, name), n in self.fields.items() if of == key}
        return found | self.extra


class PoisonedPipeline:
    def __init__(self, redis: PoisonedRedis) -> None:
        self.redis = redis
        self.commands: list[tuple[str, ...]] = []

    async def __aenter__(self) -> PoisonedPipeline:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def hincrby(self, key: str, field: str, count: int) -> None:
        self.commands.append(("hincrby", key, field, str(count)))

    def expire(self, key: str, _: int) -> None:
        self.commands.append(("expire", key))

    def hgetall(self, key: str) -> None:
        self.commands.append(("hgetall", key))

    async def execute(self, *, raise_on_error: bool = True) -> list[Any]:
        results: list[Any] = []
        for name, key, *rest in self.commands:
            if name == "hgetall":
                results.append(await self.redis.hgetall(key))
            elif name == "hincrby" and rest[0] == "a|rows":
                results.append(ResponseError("hash value is not an integer"))
            elif name == "hincrby":
                self.redis.fields[key, rest[0]] = self.redis.fields.get((key, rest[0]), 0) + int(rest[1])
                results.append(1)
            else:
                results.append(1)
        errors = [result for result in results if isinstance(result, Exception)]
        if errors and raise_on_error:
            raise errors[0]
        return results


async def test_a_value_that_is_no_count_makes_no_call_count_twice() -> None:
    usage = UsageRecorder(PoisonedRedis(), clock_at(START))  # type: ignore[arg-type]  # the part that is used
    usage.record("a", rows=1, size=10)
    for _ in range(50):
        await usage.flush()
    assert usage.month_calls("a") == 1
    assert (await usage.days(1))["a"]["2026-11-29"].calls == 1


@pytest.mark.parametrize("name", [b"a|calls", b"a", b"\xff|calls", b"", b"|calls", b"a|x|calls"])
@pytest.mark.parametrize("value", [b"abc", b"", b"1e9", b"-5", b"9" * 40, b"\xff", b"NaN"])
async def test_what_redis_has_is_read_as_counts_or_passed_by(name: bytes, value: bytes) -> None:
    redis = PoisonedRedis()
    usage = UsageRecorder(redis, clock_at(START))  # type: ignore[arg-type]  # the part that is used
    usage.record("b", rows=1, size=10)
    redis.extra = {name: value}
    await usage.flush()
    assert usage.month_calls("b") == 1
    assert (await usage.days(3))["b"]["2026-11-29"].bytes == 10
    assert "a" not in await usage.days(1)


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
