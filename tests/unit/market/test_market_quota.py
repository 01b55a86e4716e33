"""The quota: never more than the plan in any minute, priorities, pauses; in process and in Redis alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock, SystemClock
from coincast_chassis.errors import Exhausted
from coincast_chassis.redis import open_redis
from coincast_market_data.ports import Priority
from coincast_market_data.quota.governor import Governor
from coincast_market_data.quota.window import MINUTE_SHARE, WINDOW_SECONDS, Limits, QuotaWindow
from coincast_market_data.redis_gate import RedisGate
from tests.contract.valkey_harness import running_valkey

NOW = 1_750_000_000.0


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 30), st.sampled_from(list(Priority))), max_size=200),
)
def test_never_more_than_the_plan_in_any_minute(per_minute: int, asks: list[tuple[float, Priority]]) -> None:
    window = QuotaWindow(Limits(per_minute, 0))
    now, granted = NOW, []
    for step, priority in asks:
        now += step
        if window.ask(now, priority).granted:
            granted.append(now)
    for start in granted:
        assert sum(start <= moment < start + 60 for moment in granted) <= per_minute


@given(st.integers(1, 60), st.sampled_from(list(Priority)))
def test_the_told_wait_is_enough(per_minute: int, priority: Priority) -> None:
    window = QuotaWindow(Limits(per_minute, 0))
    while (verdict := window.ask(NOW, priority)).granted:
        pass
    if int(per_minute * MINUTE_SHARE[priority]) > 0:
        assert window.ask(NOW + verdict.wait_seconds, priority).granted


def test_backfill_leaves_half_for_callers() -> None:
    window = QuotaWindow(Limits(10, 0))
    backfilled = sum(window.ask(NOW, Priority.BACKFILL).granted for _ in range(50))
    refreshed = sum(window.ask(NOW, Priority.REFRESH).granted for _ in range(50))
    live = sum(window.ask(NOW, Priority.LIVE).granted for _ in range(50))
    assert (backfilled, refreshed, live) == (5, 3, 2)


def test_a_refusal_pauses_everyone_and_lowers_the_limit_for_a_while() -> None:
    window = QuotaWindow(Limits(10, 0))
    window.refused(NOW, 119.0)
    verdict = window.ask(NOW + 60, Priority.LIVE)
    assert not verdict.granted
    assert verdict.wait_seconds == pytest.approx(59.0)
    after = NOW + 120
    assert sum(window.ask(after, Priority.LIVE).granted for _ in range(20)) == 7, "halved, a fifth recovered"
    late = NOW + 1000
    assert sum(window.ask(late, Priority.LIVE).granted for _ in range(20)) == 10


def test_the_month_is_kept_and_begins_anew() -> None:
    window = QuotaWindow(Limits(1000, 10))
    assert sum(window.ask(NOW, Priority.BACKFILL).granted for _ in range(20)) == 7
    assert sum(window.ask(NOW, Priority.LIVE).granted for _ in range(20)) == 3
    assert window.ask(NOW + 31 * 86_400, Priority.LIVE).granted


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with running_valkey() as server:
        yield server.url


def governor_on(
    client: redis.asyncio.Redis | None, limits: Limits, *, prefix: str = "t:", replicas: int = 1
) -> Governor:
    gate = RedisGate(patience_seconds=2.0)
    return Governor(limits, replicas=replicas, clock=SystemClock(), gate=gate, client=client, prefix=prefix)


async def grants(governor: Governor, priority: Priority, asks: int) -> int:
    count = 0
    for _ in range(asks):
        with suppress(Exhausted):
            await governor.acquire(priority, 0.0)
            count += 1
    return count


async def test_three_replicas_share_one_bucket(valkey_url: str) -> None:
    clients = [open_redis(valkey_url, timeout_seconds=2.0) for _ in range(3)]
    replicas = [governor_on(client, Limits(30, 0), prefix="three:") for client in clients]
    asked = await asyncio.gather(*(grants(governor, Priority.LIVE, 340) for governor in replicas))
    assert sum(asked) == 30
    seen = await replicas[0].look()
    assert (seen.minute_used, seen.month_used, seen.granted) == (30, 30, False)
    assert 0 < seen.wait_seconds <= WINDOW_SECONDS
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("limits", [Limits(10, 0), Limits(100, 7), Limits(1, 0), Limits(7, 1000)])
async def test_the_script_is_the_same_rule(valkey_url: str, priority: Priority, limits: Limits) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    prefix = f"same:{priority}:{limits.per_minute}:{limits.per_month}:"
    shared = governor_on(client, limits, prefix=prefix)
    local = QuotaWindow(limits)
    for step in range(15):
        told = await shared._ask(priority)
        same = local.ask(SystemClock().now(), priority)
        assert (told.granted, told.minute_limit) == (same.granted, same.minute_limit), step
        assert (told.minute_used, told.month_used) == (same.minute_used, same.month_used), step
        assert told.wait_seconds == pytest.approx(same.wait_seconds, abs=1.0)
    await client.aclose()


async def test_a_refusal_told_to_one_replica_pauses_the_others(valkey_url: str) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    one, other = (governor_on(client, Limits(10, 0), prefix="pause:") for _ in range(2))
    await one.refused(119.0)
    with pytest.raises(Exhausted) as caught:
        await other.acquire(Priority.LIVE, 0.0)
    assert caught.value.retry_after_seconds == pytest.approx(119, abs=2)
    assert (await other.look()).minute_limit == 5
    await client.aclose()


async def test_without_redis_each_process_keeps_its_share() -> None:
    governor = governor_on(open_redis("redis://127.0.0.1:1/0"), Limits(30, 0), replicas=3)
    assert await grants(governor, Priority.LIVE, 50) == 10
    assert not governor.shared


async def test_what_was_granted_by_redis_counts_when_redis_goes(valkey_url: str) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    governor = governor_on(client, Limits(10, 0), prefix="gone:")
    assert await grants(governor, Priority.LIVE, 6) == 6
    await client.aclose()
    governor._script = None
    assert await grants(governor, Priority.LIVE, 20) == 4


async def test_a_caller_waits_for_its_turn_and_no_longer() -> None:
    clock = ManualClock(NOW)
    governor = Governor(Limits(1, 0), replicas=1, clock=clock, gate=RedisGate(), client=None, prefix="w:")
    await governor.acquire(Priority.LIVE, 0.0)
    with pytest.raises(Exhausted) as caught:
        await governor.acquire(Priority.LIVE, 5.0)
    assert caught.value.retry_after_seconds == pytest.approx(61.0)
