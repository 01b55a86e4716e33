"""What touches the world, opened: clocks, Redis, and the upstream behind its guards."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import httpx2
import redis.asyncio

from coincast_chassis.clock import Clock
from coincast_chassis.redis import open_redis
from coincast_market_data.cache.entry import Kind
from coincast_market_data.cache.layers import LayerCounts, LayeredCache
from coincast_market_data.cache.read_through import ReadThrough
from coincast_market_data.cache.redis_store import RedisStore
from coincast_market_data.cache.sharing import Sharing
from coincast_market_data.quota.governor import Governor
from coincast_market_data.quota.window import Limits
from coincast_market_data.redis_gate import AT_ONCE, FAILURES, RedisGate
from coincast_market_data.settings import Settings, UpstreamName
from coincast_market_data.upstream.breakers import Breakers
from coincast_market_data.upstream.client import HttpUpstream, open_http
from coincast_market_data.upstream.clock import UpstreamClock
from coincast_market_data.upstream.guarded import GuardedUpstream
from coincast_market_data.upstream.plans import PLANS
from coincast_market_data.upstream.pool import PoolView
from coincast_market_data.upstream.retries import RetryBudget

T = TypeVar("T")
CONNECTIONS = 20
# The client gives up later than the gate, by so much: it cannot tell a stall of this process from Redis'.
CLIENT_PATIENCE = 10


@dataclass(frozen=True, slots=True)
class Edges:
    """What touches the world: clocks, Redis, the upstream behind its guards."""

    settings: Settings
    clock: Clock
    data_clock: UpstreamClock
    gate: RedisGate
    store: RedisStore
    governor: Governor
    breakers: Breakers
    pool: PoolView
    upstream: GuardedUpstream
    counts: LayerCounts

    @property
    def sandbox(self) -> bool:
        """Whether every figure is to be marked as no market data."""
        return self.settings.upstream == UpstreamName.SANDBOX

    def cache(self, kind: Kind[T], max_entries: int) -> LayeredCache[T]:
        """A cache of one kind of data."""
        most = self.settings.memory_document_bytes
        return LayeredCache(
            kind, self.store, self.clock, self.counts, max_entries=max_entries, max_bytes=most
        )

    def read_through(self, kind: Kind[T], max_entries: int) -> ReadThrough[T]:
        """A cache with its way to fetch."""
        cache = self.cache(kind, max_entries)
        return ReadThrough(
            cache,
            clock=self.clock,
            data_clock=self.data_clock,
            sandbox=self.sandbox,
            sharing=self.sharing(cache),
        )

    def sharing(self, cache: LayeredCache[T]) -> Sharing[T]:
        """The leases on a cache's keys."""
        return Sharing(cache, longest_seconds=self.settings.shared_fetch_wait_seconds)


async def open_edges(
    settings: Settings, stack: AsyncExitStack, transport: httpx2.AsyncBaseTransport | None, clock: Clock
) -> Edges:
    """Open Redis and the upstream; the stack closes them in reverse."""
    data_clock = UpstreamClock(clock, sandbox=settings.upstream == UpstreamName.SANDBOX)
    client, gate = await open_gate(settings, stack)
    prefix = f"coincast:market:{namespace(settings)}:"
    governor = Governor(
        limits_of(settings), replicas=settings.replicas, clock=clock, gate=gate, client=client, prefix=prefix
    )
    stack.push_async_callback(governor.aclose)
    governor.start()
    http = await stack.enter_async_context(open_http(settings, transport))
    raw = HttpUpstream(http, settings, data_clock)
    breakers = Breakers(settings, clock)
    upstream = GuardedUpstream(
        raw,
        governor=governor,
        breakers=breakers,
        budget=RetryBudget(settings.retry_share),
        max_attempts=settings.max_attempts,
        retry_seconds=settings.call_deadline_seconds,
        quota_wait_seconds=settings.quota_wait_seconds,
    )
    stack.push_async_callback(upstream.aclose)
    store = RedisStore(client, gate, prefix)
    pool = PoolView(http, raw)
    return Edges(settings, clock, data_clock, gate, store, governor, breakers, pool, upstream, LayerCounts())


def namespace(settings: Settings) -> str:
    """Keeps what came from one upstream apart from what came from another."""
    return f"{settings.upstream}-{hashlib.sha256(settings.base_url.encode()).hexdigest()[:8]}"


async def open_gate(settings: Settings, stack: AsyncExitStack) -> tuple[redis.asyncio.Redis, RedisGate]:
    """Redis, and the one gate before it: what the cache finds out about Redis the quota knows, and the other
    way round.
    """
    client = open_redis(
        settings.redis_url,
        max_connections=CONNECTIONS,
        timeout_seconds=CLIENT_PATIENCE * settings.redis_patience_seconds,
    )
    stack.push_async_callback(client.aclose)

    async def answers() -> bool:
        return bool(await client.ping())

    gate = RedisGate(answers, patience_seconds=settings.redis_patience_seconds)
    stack.push_async_callback(gate.aclose)
    # Connections are made before the first request, which would pay for them out of its patience.
    with contextlib.suppress(*FAILURES):
        if await answers():
            await asyncio.gather(*(answers() for _ in range(AT_ONCE)))
    return client, gate


def limits_of(settings: Settings) -> Limits:
    """The plan's limits, or those that were set."""
    facts = PLANS[settings.plan]
    minute, month = settings.per_minute_limit, settings.per_month_limit
    return Limits(minute or facts.per_minute, facts.per_month if month is None else month)
