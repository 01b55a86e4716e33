"""What the gateway dates and measures stays right when the machine's clock jumps."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from coincast_gateway.auth.usage import UsageRecorder
from coincast_gateway.cache.last_known import LastKnownResponses
from coincast_gateway.cache.redis_tier import RedisTier
from coincast_gateway.cache.response_cache import ResponseCache
from coincast_gateway.health.sampler import Sampler
from coincast_gateway.health.trends import TrendStore
from coincast_gateway.rendering import RenderedResponse
from coincast_gateway.routers.coins import days_since
from tests.unit.clock_jumps import DAY, HOUR, JUMPS, JumpingClock

pytestmark = pytest.mark.parametrize("jump", JUMPS)


async def test_calls_are_counted_on_their_day_and_month(jump: float) -> None:
    clock = JumpingClock()
    usage = UsageRecorder(None, clock.steady)
    usage.record("key", rows=1, size=10)
    before = usage.seconds_to_next_month()
    clock.jump(jump)
    usage.record("key", rows=2, size=20)
    assert usage.month_calls("key") == 2
    assert usage.seconds_to_next_month() == pytest.approx(before)
    days = (await usage.days(35))["key"]
    assert [(day.calls, day.rows, day.bytes) for day in days.values()] == [(2, 3, 30)]
    clock.advance(DAY)
    usage.record("key", rows=0, size=0)
    assert len((await usage.days(35))["key"]) == 2


async def test_the_usage_of_a_month_is_not_forgotten(jump: float) -> None:
    clock = JumpingClock()
    usage = UsageRecorder(None, clock.steady)
    usage.record("key", rows=1, size=10)
    clock.jump(jump)
    await usage.flush()
    clock.jump(-jump)
    await usage.flush()
    assert usage.month_calls("key") == 1


class OneKeyRedis:
    """Redis with a clock of its own, as far as the tier of replies uses it."""

    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock
        self.values: dict[str, tuple[bytes, float]] = {}
        self.queued: list[Any] = []

    def pipeline(self, *, transaction: bool) -> OneKeyRedis:
        self.queued = []
        return self

    async def __aenter__(self) -> OneKeyRedis:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def get(self, key: str) -> None:
        value, until = self.values.get(key, (None, 0.0))
        self.queued.append(value if until > self.clock.now() else None)

    def pttl(self, key: str) -> None:
        left = self.values[key][1] - self.clock.now() if key in self.values else -0.002
        self.queued.append(int(left * 1000))

    async def execute(self) -> list[Any]:
        return self.queued

    async def set(self, key: str, value: bytes, px: int) -> None:
        self.values[key] = (value, self.clock.now() + px / 1000)


async def test_a_shared_reply_is_neither_younger_nor_fresh_for_longer(jump: float) -> None:
    """Workers started before and after a jump share replies; each has a clock of its own."""
    steady_redis = JumpingClock()
    tier = RedisTier(OneKeyRedis(steady_redis))  # type: ignore[arg-type]
    reply = RenderedResponse(b"{}", "application/json", as_of=None, fresh_seconds=30.0)
    await tier.put("question", reply)
    steady_redis.advance(10)
    clock = JumpingClock()
    clock.jump(jump)
    cache = ResponseCache(max_bytes=1 << 20, clock=clock.steady, private=False, shared=tier)
    found = await tier.get("question")
    assert found is not None
    assert found[1] == pytest.approx(10, abs=0.01)
    assert found[0].fresh_seconds == pytest.approx(20, abs=0.01)
    await cache.aclose()


async def test_a_reply_whose_age_nothing_tells_is_not_shared(jump: float) -> None:
    """The clock of Redis itself jumps: set back, a key would live for longer than its reply is fresh."""
    redis_clock = JumpingClock()
    tier = RedisTier(OneKeyRedis(redis_clock))  # type: ignore[arg-type]
    await tier.put("question", RenderedResponse(b"{}", "application/json", as_of=None, fresh_seconds=30.0))
    redis_clock.advance(10)
    redis_clock.jump(jump)
    assert await tier.get("question") is None


def test_the_last_forecast_has_its_true_age(jump: float) -> None:
    clock = JumpingClock()
    known = LastKnownResponses(max_bytes=10_000, clock=clock.steady)
    known.store("question", b"{}")
    clock.advance(HOUR)
    clock.jump(jump)
    assert known.find("question") == (b"{}", HOUR)
    clock.advance(23 * HOUR + 1)
    assert known.find("question") is None


class FakeComponents:
    """A collector of one component."""

    async def components(self) -> list[Any]:
        figures = {
            "hot_cache": {"hit_rate": 0.5},
            "process": {"cpu_percent": 1.0, "memory_mb": 1.0},
            "response_times": dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"), 1.0),
        }
        return [SimpleNamespace(name="gateway", status="ok", figures=figures)]


class Totals:
    """Totals of requests and failures."""

    requests = failures = 0


async def trends_of(jump: float) -> dict[str, Any]:
    """Ten minutes of samples, with a jump in the middle."""
    clock = JumpingClock(1_700_000_000 // 1800 * 1800)
    totals = Totals()
    sampler = Sampler(FakeComponents(), totals, clock.steady)  # type: ignore[arg-type]
    trends = TrendStore(None, clock.steady)
    for number in range(61):
        if number == 30:
            clock.jump(jump)
        sample = await sampler.take()
        assert sample["requests_per_second"] == (2.0 if number else None)
        await trends.add(sample)
        totals.requests += 20
        clock.advance(10)
    return await trends.read(0.15)


async def test_rates_and_trends_are_those_of_a_clock_that_is_right(jump: float) -> None:
    found = await trends_of(jump)
    assert found == await trends_of(0.0)
    assert [point for point in found["points"] if point["sample"] is None] == []


def test_a_span_reaches_as_far_back_as_it_was_asked_for(jump: float) -> None:
    clock = JumpingClock()
    first = dt.datetime.fromtimestamp(clock.now(), dt.UTC) - dt.timedelta(days=9)
    clock.jump(jump)
    assert days_since(first, None, clock.steady) == 10
