"""A week of trends in a real Redis: thinned with age, bounded, the same for all, gaps shown as gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis.asyncio

from coincast_chassis.clock import ManualClock
from coincast_chassis.redis import open_redis
from coincast_gateway.health.trends import TIERS, TrendStore
from tests.contract.valkey_harness import RunningValkey, running_valkey

HOUR, DAY = 3600, 86_400
# On a border of the coarsest tier.
START = 1_700_000_000 // 1800 * 1800
SILENCE = (START + 3 * DAY, START + 3 * DAY + 6 * HOUR)
END = START + 8 * DAY


@pytest.fixture
def valkey() -> Iterator[RunningValkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def client(valkey: RunningValkey) -> AsyncIterator[redis.asyncio.Redis]:
    opened = open_redis(valkey.url, timeout_seconds=5)
    yield opened
    await opened.aclose()


async def lived(client: redis.asyncio.Redis) -> ManualClock:
    """Eight days with a silence of six hours, the last two and a half hours in full detail."""
    clock = ManualClock(START)
    store = TrendStore(client, clock)
    while clock.now() < END:
        if not SILENCE[0] <= clock.now() < SILENCE[1]:
            await store.add(sample(clock.now()))
        clock.advance(10 if clock.now() >= END - 2.5 * HOUR else 300)
    return clock


def sample(at: float) -> dict[str, Any]:
    hour = (at - START) / HOUR
    return {"at": at, "p50_ms": hour, "p99_ms": 10 * hour, "statuses": {"gateway": "ok"}}


async def test_a_week_lies_in_redis_thinned_and_a_silence_is_one_gap(client: redis.asyncio.Redis) -> None:
    clock = await lived(client)
    for tier in TIERS:
        found: list[Any] = await client.zrange(tier.key, 0, -1, withscores=True)
        scores = [score for _, score in found]
        assert len(scores) <= tier.kept_seconds / tier.step_seconds + 1
        assert min(scores) >= END - tier.kept_seconds - 2 * tier.step_seconds
        assert 0 < await client.ttl(tier.key) <= tier.kept_seconds
    held = sum([int(await client.memory_usage(tier.key) or 0) for tier in TIERS])
    print(f"\na week of trends takes {held / 1e3:.0f} kB of Redis")
    assert held < 1_000_000
    # A process that has seen none of it reads it all the same.
    other = TrendStore(client, clock)
    week = await other.read(168)
    assert week["step_seconds"] == 1800
    assert [(gap["from"], gap["to"]) for gap in week["gaps"]] == [SILENCE]
    assert len(week["points"]) == 168 * 2
    assert [point["at"] for point in week["points"]] == list(
        range(week["points"][0]["at"], week["points"][-1]["at"] + 1, 1800)
    )
    fine = await other.read(2)
    # All that a restart loses is the step that was under way.
    assert (fine["step_seconds"], fine["gaps"]) == (30, [{"from": END - 30, "to": END}])
    assert all(point["sample"]["samples"] == 3 for point in fine["points"][:-1])


async def test_a_thinned_point_holds_the_mean_and_the_worst_of_its_span(client: redis.asyncio.Redis) -> None:
    clock = await lived(client)
    week = await TrendStore(client, clock).read(168)
    before = next(p for p in week["points"] if p["at"] == SILENCE[0] - 1800)["sample"]
    first_hour = (SILENCE[0] - 1800 - START) / HOUR
    each = [first_hour + n * 300 / HOUR for n in range(6)]
    assert before["samples"] == 6
    assert before["p50_ms"] == pytest.approx(sum(each) / 6, abs=1e-3)
    assert before["p99_ms"] == pytest.approx(10 * each[-1])


async def test_two_processes_write_one_sample_a_step_and_a_redis_that_went_leaves_what_is_known(
    client: redis.asyncio.Redis, valkey: RunningValkey
) -> None:
    clock = ManualClock(START)
    stores = [TrendStore(client, clock), TrendStore(client, clock)]
    for _ in range(60):
        for store in stores:
            await store.add(sample(clock.now()))
        clock.advance(10)
    assert await client.zcard(TIERS[0].key) == 19
    valkey.kill()
    known = await stores[0].read(0.15)
    assert sum(point["sample"] is not None for point in known["points"]) >= 17
