"""A governor of the quota over a Redis that a test brings, or over none."""

from __future__ import annotations

from contextlib import suppress

import redis.asyncio

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import Exhausted
from coincast_market_data.ports import Priority
from coincast_market_data.quota.governor import Governor
from coincast_market_data.quota.window import Limits
from coincast_market_data.redis_gate import RedisGate


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
