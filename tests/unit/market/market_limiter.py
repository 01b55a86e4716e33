"""A limiter of the quota over a Redis that a test brings, or over none."""

from __future__ import annotations

from contextlib import suppress

import redis.asyncio

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import Exhausted
from coincast_market_data.ports import Priority
from coincast_market_data.rate_limit.limiter import Limits, RateLimiter
from coincast_market_data.redis_executor import RedisExecutor


def governor_on(
    client: redis.asyncio.Redis | None, limits: Limits, *, prefix: str = "t:", replicas: int = 1
) -> RateLimiter:
    executor = RedisExecutor(wait_budget_seconds=2.0)
    return RateLimiter(
        limits, replicas=replicas, clock=SystemClock(), executor=executor, client=client, prefix=prefix
    )


async def grants(limiter: RateLimiter, priority: Priority, asks: int) -> int:
    count = 0
    for _ in range(asks):
        with suppress(Exhausted):
            await limiter.acquire(priority, 0.0)
            count += 1
    return count
