"""The limit of requests over several processes and a Redis that restarts: no window grants more than it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import redis.asyncio

from coincast_chassis.clock import SystemClock
from coincast_gateway.auth.rate_limit import LEAST_LEASED_LIMIT, Limiter
from tests.contract.valkey_harness import RunningValkey, running_valkey

WINDOW = 3.0
PROCESSES = 3


@asynccontextmanager
async def processes(valkey: RunningValkey) -> AsyncIterator[list[Limiter]]:
    """Several processes with a connection and counts of their own."""
    clients = [redis.asyncio.Redis.from_url(valkey.url, socket_timeout=0.3) for _ in range(PROCESSES)]
    limiters = [
        Limiter(client, SystemClock(), workers=PROCESSES, window_seconds=WINDOW) for client in clients
    ]
    watches = [asyncio.create_task(limiter.watch()) for limiter in limiters]
    try:
        yield limiters
    finally:
        for task in watches:
            task.cancel()
        for client in clients:
            with suppress(OSError):
                await client.aclose()


async def hammer(limiter: Limiter, limit: int, until: float, granted: list[float]) -> None:
    """Ask as one process does, as often as it can, and note the moment of each grant."""
    while time.monotonic() < until:
        if limiter.try_acquire("key:a") is not None or (await limiter.acquire("key:a", limit))[1] == 0.0:
            granted.append(time.monotonic())
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.02)


def most_in_a_window(granted: list[float]) -> int:
    moments = sorted(granted)
    return max(sum(start <= moment < start + WINDOW for moment in moments) for start in moments)


@pytest.mark.parametrize("limit", [30, LEAST_LEASED_LIMIT])
@pytest.mark.parametrize("fault", ["none", "restart", "away", "flushed"])
async def test_no_window_grants_more_than_the_limit(fault: str, limit: int) -> None:
    granted: list[float] = []
    with running_valkey() as valkey:
        async with processes(valkey) as limiters:
            until = time.monotonic() + 2.2 * WINDOW
            tasks = [asyncio.create_task(hammer(each, limit, until, granted)) for each in limiters]
            await asyncio.sleep(WINDOW / 3)
            if fault == "flushed":
                client = redis.asyncio.Redis.from_url(valkey.url)
                await client.flushall()
                await client.aclose()
            elif fault != "none":
                await asyncio.to_thread(valkey.kill)
                await asyncio.sleep(0.2 if fault == "restart" else WINDOW)
                await asyncio.to_thread(valkey.restart)
            await asyncio.gather(*tasks)
    assert most_in_a_window(granted) <= limit
    assert len(granted) >= limit


async def test_an_unused_lease_is_given_back() -> None:
    limit = LEAST_LEASED_LIMIT
    with running_valkey() as valkey:
        async with processes(valkey) as limiters:
            lease, _ = await limiters[0].acquire("key:a", limit)
            held = lease.tokens
            assert held > 0
            await asyncio.sleep(1.1)
            assert limiters[0].try_acquire("key:a") is None
            lease, _ = await limiters[0].acquire("key:a", limit)
            assert lease.left + lease.tokens == limit - 2


@pytest.mark.parametrize("limit", [LEAST_LEASED_LIMIT - 1, LEAST_LEASED_LIMIT, 5000])
async def test_callers_that_come_together_get_the_whole_limit(limit: int) -> None:
    """Of leases taken at the same moment none is lost: each request is granted until the limit is reached."""
    with running_valkey() as valkey:
        client = redis.asyncio.Redis.from_url(valkey.url, socket_timeout=5)
        limiter, granted, together = Limiter(client, SystemClock(), window_seconds=60.0), 0, 50

        async def caller(count: int) -> None:
            nonlocal granted
            for _ in range(count):
                if limiter.try_acquire("key:a") or (await limiter.acquire("key:a", limit))[1] == 0.0:
                    granted += 1

        await asyncio.gather(*(caller(limit // together) for _ in range(together)))
        await client.aclose()
    assert granted == limit // together * together
