"""Opens the infrastructure: clocks, Redis, and the resilient upstream client."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import httpx2
import redis.asyncio

from coincast_chassis.clock import Clock, SteadyClock
from coincast_chassis.redis import open_redis
from coincast_market_data.cache.read_through import ReadThrough
from coincast_market_data.cache.two_level import (
    CacheKind,
    CacheStats,
    HmacSigner,
    KeyLeases,
    RedisStore,
    TwoLevelCache,
)
from coincast_market_data.coingecko.api_plans import ActivePlan, ApiPlan, PlanName
from coincast_market_data.coingecko.client import HttpUpstream, PoolStats, UpstreamClock, open_http
from coincast_market_data.coingecko.error_mapping import UpstreamAvailability
from coincast_market_data.coingecko.plan_monitor import MeteredUpstream, PlanMonitor
from coincast_market_data.coingecko.resilient_client import Breakers, ResilientUpstream, RetryBudget
from coincast_market_data.rate_limit.limiter import Limits, RateLimiter
from coincast_market_data.rate_limit.siblings import SiblingCounter
from coincast_market_data.redis_executor import AT_ONCE, FAILURES, RedisExecutor
from coincast_market_data.settings import Settings, UpstreamName

T = TypeVar("T")
CONNECTIONS = 20
# The Redis client's timeout as a multiple of the executor's. It must be larger, since the client also counts
# time in which this process itself is stalled.
CLIENT_TIMEOUT_FACTOR = 10


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """The open infrastructure: clocks, Redis, rate limiter and upstream client."""

    settings: Settings
    clock: Clock
    data_clock: UpstreamClock
    executor: RedisExecutor
    store: RedisStore
    limiter: RateLimiter
    breakers: Breakers
    pool: PoolStats
    upstream: ResilientUpstream
    counts: CacheStats
    plan: ActivePlan
    plan_monitor: PlanMonitor
    availability: UpstreamAvailability

    @property
    def sandbox(self) -> bool:
        """Whether the upstream is a sandbox, so that no figure is market data."""
        return self.settings.upstream == UpstreamName.SANDBOX

    def cache(self, kind: CacheKind[T], max_entries: int) -> TwoLevelCache[T]:
        """Build a cache for one kind of data."""
        most = self.settings.memory_document_bytes
        return TwoLevelCache(
            kind, self.store, self.clock, self.counts, max_entries=max_entries, max_bytes=most
        )

    def read_through(self, kind: CacheKind[T], max_entries: int) -> ReadThrough[T]:
        """Build a read-through cache for one kind of data."""
        cache = self.cache(kind, max_entries)
        return ReadThrough(
            cache,
            clock=self.clock,
            data_clock=self.data_clock,
            sandbox=self.sandbox,
            sharing=self.sharing(cache),
            queue=self.limiter,
        )

    def sharing(self, cache: TwoLevelCache[T]) -> KeyLeases[T]:
        """Return the leases on a cache's keys."""
        return KeyLeases(cache, longest_seconds=self.settings.shared_fetch_wait_seconds)


async def open_infrastructure(
    settings: Settings, stack: AsyncExitStack, transport: httpx2.AsyncBaseTransport | None, clock: Clock
) -> Infrastructure:
    """Open Redis and the upstream client.

    Args:
        settings: The service's settings.
        stack: Closes everything that is opened here, in reverse order.
        transport: Replaces the network in tests.
        clock: Replaces the time in tests.
    """
    steady = SteadyClock(clock)
    wall, clock = steady.wall, steady
    data_clock = UpstreamClock(clock, sandbox=settings.upstream == UpstreamName.SANDBOX, wall=wall)
    client, executor = await open_redis_executor(settings, stack)
    prefix = f"coincast:market:{namespace(settings)}:"
    plan = active_plan(settings)
    siblings = SiblingCounter(settings.archive_dir / ".replicas" / namespace(settings), clock)
    siblings.join()
    stack.callback(siblings.leave)
    limiter = RateLimiter(
        rate_limits(plan.current),
        replicas=settings.replicas,
        clock=clock,
        executor=executor,
        client=client,
        prefix=prefix,
        siblings=siblings.count,
    )
    stack.push_async_callback(limiter.aclose)
    limiter.start()
    http = await stack.enter_async_context(open_http(settings, transport))
    raw = HttpUpstream(http, settings, data_clock, plan)
    plan.on_change(lambda changed: limiter.use_limits(rate_limits(changed)))
    availability = UpstreamAvailability(clock)
    if settings.known_refusal:
        availability.note_known(settings.known_refusal)
    plan.on_change(lambda _: availability.forget_requests())
    monitor = PlanMonitor(
        plan,
        MeteredUpstream(raw, limiter, settings.quota_wait_seconds),
        availability,
        detect=settings.plan == PlanName.AUTO and settings.api_key is not None,
    )
    breakers = Breakers(settings, clock)
    upstream = ResilientUpstream(
        raw,
        limiter=limiter,
        breakers=breakers,
        budget=RetryBudget(settings.retry_share),
        max_attempts=settings.max_attempts,
        retry_seconds=settings.call_deadline_seconds,
        quota_wait_seconds=settings.quota_wait_seconds,
        availability=availability,
    )
    stack.push_async_callback(upstream.aclose)
    secret = settings.cache_secret
    signer = HmacSigner(secret.get_secret_value().encode()) if secret is not None else None
    store = RedisStore(client, executor, prefix, signer)
    pool = PoolStats(http, raw)
    return Infrastructure(
        settings=settings,
        clock=clock,
        data_clock=data_clock,
        executor=executor,
        store=store,
        limiter=limiter,
        breakers=breakers,
        pool=pool,
        upstream=upstream,
        counts=CacheStats(),
        plan=plan,
        plan_monitor=monitor,
        availability=availability,
    )


def namespace(settings: Settings) -> str:
    """Return the namespace of Redis keys, which is different for each upstream address."""
    return f"{settings.upstream}-{hashlib.sha256(settings.base_url.encode()).hexdigest()[:8]}"


async def open_redis_executor(
    settings: Settings, stack: AsyncExitStack
) -> tuple[redis.asyncio.Redis, RedisExecutor]:
    """Open the Redis client and the one executor that the cache and the rate limiter share.

    Since they share it, a failure that one of them sees opens the circuit for both.
    """
    client = open_redis(
        settings.redis_url,
        max_connections=CONNECTIONS,
        timeout_seconds=CLIENT_TIMEOUT_FACTOR * settings.redis_patience_seconds,
    )
    stack.push_async_callback(client.aclose)

    async def ping() -> bool:
        return bool(await client.ping())

    executor = RedisExecutor(ping, wait_budget_seconds=settings.redis_patience_seconds)
    stack.push_async_callback(executor.aclose)
    # Connections are opened now; otherwise the first requests would spend their wait budget on it.
    with contextlib.suppress(*FAILURES):
        if await ping():
            await asyncio.gather(*(ping() for _ in range(AT_ONCE)))
    return client, executor


def active_plan(settings: Settings) -> ActivePlan:
    """Return the plan of the settings; further settings override its figures."""
    return ActivePlan(
        settings.assumed_plan,
        base_url=settings.upstream_url,
        per_minute=settings.per_minute_limit,
        per_month=settings.per_month_limit,
        reach_days=settings.history_reach_days,
    )


def rate_limits(plan: ApiPlan) -> Limits:
    """Return the limits of a plan for the rate limiter."""
    return Limits(plan.per_minute, plan.per_month)
