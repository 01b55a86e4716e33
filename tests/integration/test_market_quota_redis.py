"""The quota in Redis: the same rule as in the process, one bucket for all replicas."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import Exhausted
from coincast_chassis.redis import open_redis
from coincast_market_data.ports import Priority
from coincast_market_data.rate_limit.limiter import (
    SLOW_SECONDS,
    WINDOW_SECONDS,
    Limits,
    QuotaWindow,
    RateLimiter,
    read_clock,
)
from coincast_market_data.redis_executor import RedisExecutor
from tests.contract.valkey_harness import running_valkey
from tests.unit.market.market_limiter import governor_on, grants

NOW = 1_750_000_000.0


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with running_valkey() as server:
        yield server.url


async def test_three_replicas_share_one_bucket(valkey_url: str) -> None:
    clients = [open_redis(valkey_url, timeout_seconds=2.0) for _ in range(3)]
    replicas = [governor_on(client, Limits(30, 0), prefix="three:") for client in clients]
    requested = await asyncio.gather(*(grants(limiter, Priority.LIVE, 340) for limiter in replicas))
    assert sum(requested) == 30
    seen = await replicas[0].usage()
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
        reported = await shared._request_grant(priority)
        same = local.try_acquire(read_clock(SystemClock()), priority)
        assert (reported.granted, reported.minute_limit) == (same.granted, same.minute_limit), step
        assert (reported.minute_used, reported.month_used) == (same.minute_used, same.month_used), step
        assert reported.wait_seconds == pytest.approx(same.wait_seconds, abs=1.0)
    await client.aclose()


async def test_a_refusal_reported_to_one_replica_pauses_the_others(valkey_url: str) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    one, other = (governor_on(client, Limits(10, 0), prefix="pause:") for _ in range(2))
    await one.refused(119.0)
    with pytest.raises(Exhausted) as caught:
        await other.acquire(Priority.LIVE, 0.0)
    assert caught.value.retry_after_seconds == pytest.approx(119, abs=2)
    assert (await other.usage()).minute_limit == 5
    await client.aclose()


async def refused_seconds(limiter: RateLimiter) -> float:
    """How long the limiter says to wait; 0 where it grants."""
    try:
        await limiter.acquire(Priority.LIVE, 0.0)
    except Exhausted as error:
        return error.retry_after_seconds or 0.0
    return 0.0


async def test_a_refusal_received_while_redis_is_away_holds_once_it_is_back(valkey_url: str) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    one, other = (governor_on(client, Limits(60, 0), prefix="unheard:") for _ in range(2))
    await one.usage()
    script, one._script = one._script, None
    await one.refused(3600.0)
    assert await refused_seconds(one) == pytest.approx(3600, abs=5)
    one._script = script
    assert await refused_seconds(one) == pytest.approx(3600, abs=5)
    assert one.shared
    assert await refused_seconds(other) == pytest.approx(3600, abs=5), "it has reported to Redis"
    assert (await other.usage()).minute_limit == 30, "and that the limit is lowered"
    await one.usage()
    assert (await other.usage()).minute_limit == 30, "once"
    await client.aclose()


async def test_a_pause_outlives_a_redis_that_came_back_empty(valkey_url: str) -> None:
    """A replica that knows the pause reports it again, and grants nothing meanwhile."""
    client = open_redis(valkey_url, timeout_seconds=2.0)
    one, other = (governor_on(client, Limits(60, 0), prefix="forgot:") for _ in range(2))
    await one.refused(3600.0)
    assert await refused_seconds(other) > 3000
    await client.flushall()
    for turn in range(300):
        assert await refused_seconds(other) > 3000
        if other.shared and turn > 20:
            break
        await asyncio.sleep(0.05)
    assert other.shared, "Redis decides again"
    new = governor_on(client, Limits(60, 0), prefix="forgot:")
    assert await refused_seconds(new) > 3000, "and knows of the pause"
    await client.aclose()


async def test_a_pause_known_to_another_replica_holds_without_redis(valkey_url: str) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    one, other = (governor_on(client, Limits(60, 0), prefix="heard:") for _ in range(2))
    await other.usage()
    await one.refused(3600.0)
    await other.usage()
    other._script = None
    assert await refused_seconds(other) == pytest.approx(3600, abs=5)
    # Redis is silent for so long that the replica spends its whole share.
    other._fallback._answered_at -= 10
    assert await refused_seconds(other) == pytest.approx(3600, abs=5)
    await client.aclose()


async def test_a_pause_ends_on_time_however_often_it_is_reported(valkey_url: str) -> None:
    """Replicas report a pause to Redis and read it back, each a little late: the pause must not grow."""
    client = open_redis(valkey_url, timeout_seconds=2.0)
    replicas = [governor_on(client, Limits(60, 0), prefix="grow:") for _ in range(3)]
    await replicas[0].refused(2.0)
    ends = SystemClock().monotonic() + 2.0
    words, requested_at = 0, 0.0
    while SystemClock().monotonic() < ends - 0.2:
        requested_at = SystemClock().monotonic()
        seen = await asyncio.gather(*(limiter.usage() for limiter in replicas for _ in range(10)))
        words += len(seen)
    left = max(result.paused_seconds for result in seen)
    print(f"\na pause reported {words} times: {left:.3f} s left where {ends - requested_at:.3f} are")
    assert words > 100
    assert left < ends - requested_at + 0.2
    await client.aclose()


async def test_what_was_granted_by_redis_counts_when_redis_goes(valkey_url: str) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    limiter = governor_on(client, Limits(10, 0), prefix="gone:")
    assert await grants(limiter, Priority.LIVE, 6) == 6
    await client.aclose()
    limiter._script = None
    assert await grants(limiter, Priority.LIVE, 20) == 2, "half of what was left: another may be starting"


async def test_replicas_that_lose_redis_share_what_was_left_of_the_minute(valkey_url: str) -> None:
    clients = [open_redis(valkey_url, timeout_seconds=2.0) for _ in range(3)]
    replicas = [governor_on(client, Limits(30, 0), prefix="lost:") for client in clients]
    before = await asyncio.gather(
        *(grants(limiter, Priority.LIVE, 4 + n) for n, limiter in enumerate(replicas))
    )
    for limiter in replicas:
        await limiter.usage()
    scripts = [limiter._script for limiter in replicas]
    for limiter in replicas:
        limiter._script = None
    after = await asyncio.gather(*(grants(limiter, Priority.LIVE, 50) for limiter in replicas))
    assert sum(before) == 15
    assert sum(before) + sum(after) <= 30
    assert min(after) >= 1, "every replica gets some"
    for limiter, script in zip(replicas, scripts, strict=True):
        limiter._script = script
    for limiter in replicas:
        await limiter.usage()
    assert (await replicas[0].usage()).minute_used == sum(before) + sum(after), (
        "calls granted without Redis are reported"
    )
    for client in clients:
        await client.aclose()


async def test_redis_silent_to_some_never_makes_all_exceed_the_plan(
    valkey_url: str,
) -> None:
    """Redis answers some replicas and not others, in turns, under full demand: the plan's worst case."""
    plan, rng = 60, random.Random(11)
    clients = [open_redis(valkey_url, timeout_seconds=2.0) for _ in range(4)]
    governors = [governor_on(client, Limits(plan, 0), prefix="some:") for client in clients]
    scripts = [limiter._script for limiter in governors]
    granted = alone = 0
    for _ in range(1200):
        chosen = rng.randrange(4)
        limiter = governors[chosen]
        # It is cut off, or its reply is lost though the script ran, or all is well.
        fate = rng.random()
        limiter._script = None if fate < 0.3 else scripts[chosen]
        if 0.3 <= fate < 0.4:
            await limiter._run("ask", Priority.LIVE, f"ghost-{rng.random()}")
        got = await grants(limiter, Priority.LIVE, 1)
        granted += got
        alone += got if limiter._script is None else 0
    print(
        f"\nfour replicas, Redis silent to some in turns: {granted} of {plan} granted, {alone} of them alone"
    )
    assert granted <= plan
    assert alone > 0
    for client in clients:
        await client.aclose()


async def test_a_late_reply_is_no_second_call(valkey_url: str) -> None:
    """A script that runs after its caller gave up, and went on alone, counts the call once."""
    client = open_redis(valkey_url, timeout_seconds=5.0)
    executor = RedisExecutor(wait_budget_seconds=0.3)
    limiter = RateLimiter(
        Limits(50, 1000), replicas=1, clock=SystemClock(), executor=executor, client=client, prefix="late:"
    )
    await limiter.usage()
    await client.execute_command("CLIENT", "PAUSE", "700", "ALL")
    await limiter.acquire(Priority.LIVE, 0.0)
    went_alone = not limiter.shared
    assert went_alone
    for _ in range(100):
        await asyncio.sleep(0.05)
        seen = await limiter.usage()
        if limiter.shared:
            break
    assert (seen.minute_used, seen.month_used) == (1, 1)
    await executor.aclose()
    await client.aclose()


async def test_a_replica_that_leaves_gives_its_reserve_back(valkey_url: str) -> None:
    client = open_redis(valkey_url, timeout_seconds=2.0)
    one, other = (governor_on(client, Limits(40, 0), prefix="leave:") for _ in range(2))
    await one.usage()
    held = await grants(other, Priority.LIVE, 40)
    await one.aclose()
    assert held < 40
    assert held + await grants(other, Priority.LIVE, 40) == 40
    await client.aclose()


async def test_redis_back_after_a_while_hears_of_all_calls_before_it_grants(valkey_url: str) -> None:
    """All went on alone for longer than a window; the first one back must not be given what others used."""
    plan, window = 30, 3.0
    clients = [open_redis(valkey_url, timeout_seconds=2.0) for _ in range(3)]
    replicas = [governor_on(client, Limits(plan, 0, window), prefix="back:") for client in clients]
    for limiter in replicas:
        await limiter.usage()
    for limiter in replicas:
        assert await grants(limiter, Priority.LIVE, 7) == 7
    scripts = [limiter._script for limiter in replicas]
    for limiter in replicas:
        limiter._script = None
    await asyncio.sleep(SLOW_SECONDS + 0.2)
    alone = [await grants(limiter, Priority.LIVE, 20) for limiter in replicas]
    replicas[0]._script = scripts[0]
    first = await grants(replicas[0], Priority.LIVE, 30)
    print(
        f"\nRedis back after a while: {alone} granted alone, then {first} to the first one back, plan {plan}"
    )
    assert min(alone) >= 7, "each spent what it may"
    assert sum(alone) + first <= plan
    for limiter, script in zip(replicas, scripts, strict=True):
        limiter._script = script
    for _ in range(100):
        await asyncio.gather(*(limiter.usage() for limiter in replicas))
        if all(limiter.shared for limiter in replicas):
            break
        await asyncio.sleep(0.1)
    assert all(limiter.shared for limiter in replicas), "it grants again"
    for client in clients:
        await client.aclose()


async def test_a_redis_that_came_back_empty_hears_of_the_minute_before_it_grants(valkey_url: str) -> None:
    """Three replicas use most of the plan; Redis loses its data; the plan is not exceeded in that minute."""
    plan = 40
    clients = [open_redis(valkey_url, timeout_seconds=2.0) for _ in range(3)]
    replicas = [governor_on(client, Limits(plan, 5000), prefix="empty:") for client in clients]
    before = await asyncio.gather(*(grants(limiter, Priority.LIVE, 10) for limiter in replicas))
    await clients[0].flushall()
    during = 0
    settled = False
    for _ in range(200):
        counts = await asyncio.gather(*(grants(limiter, Priority.LIVE, 3) for limiter in replicas))
        during += sum(counts)
        settled = all(limiter.shared for limiter in replicas)
        if settled and not sum(counts):
            break
        await asyncio.sleep(0.1)
    seen = await replicas[0].usage()
    print(f"\nRedis came back empty: {sum(before)} calls before, {during} after, plan {plan}")
    assert settled, "it grants again"
    assert sum(before) >= plan // 2
    assert sum(before) + during <= plan
    assert seen.minute_used == seen.month_used == sum(before) + during, "every call was reported again, once"
    for client in clients:
        await client.aclose()
