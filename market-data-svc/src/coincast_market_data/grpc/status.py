"""Collects the state of every component for the status reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from coincast.market.v1 import market_pb2
from coincast_market_data import metrics
from coincast_market_data.archive.store import Archive
from coincast_market_data.cache.two_level import CacheStats, RedisStore
from coincast_market_data.coingecko.api_plans import ActivePlan
from coincast_market_data.coingecko.client import PoolStats
from coincast_market_data.coingecko.error_mapping import UpstreamAvailability
from coincast_market_data.coingecko.resilient_client import Breakers, ResilientUpstream
from coincast_market_data.grpc import proto_mapping
from coincast_market_data.identifiers import split_ids
from coincast_market_data.prices.batcher import PriceBatcher
from coincast_market_data.rate_limit.limiter import RateLimiter
from coincast_market_data.redis_executor import RedisExecutor
from coincast_market_data.settings import Settings
from coincast_market_data.validation.quality_log import QualityLog

# The currency of the report about a coin that is not stored.
FALLBACK_CURRENCY = "usd"


@dataclass(frozen=True, slots=True)
class Status:
    """Reads the state of the components for the status report and the gauges."""

    settings: Settings
    pool: PoolStats
    breakers: Breakers
    counts: CacheStats
    executor: RedisExecutor
    store: RedisStore
    limiter: RateLimiter
    upstream: ResilientUpstream
    batcher: PriceBatcher
    archive: Archive
    quality: QualityLog
    started: float
    plan: ActivePlan
    availability: UpstreamAvailability

    async def reply(self, quality_ids: Sequence[str]) -> market_pb2.GetStatusResponse:
        """Return the state of all components; a failing component does not make the report fail."""
        quota = await self._quota()
        return market_pb2.GetStatusResponse(
            upstream=self.settings.upstream,
            upstream_base_url=self.plan.current.base_url,
            plan=self.plan.current.name,
            pool=self._pool(),
            breakers=self._breakers(),
            cache_layers=[self._layer("memory"), self._layer("redis")],
            quota=quota,
            batch=self._batch(),
            archive=await asyncio.to_thread(self._archive),
            warm_ids=self.settings.warm_ids,
            quality=await self._reports(quality_ids),
            redis_up=await self.store.answers(),
            version=metadata.version("coincast-market-data"),
            uptime_seconds=time.monotonic() - self.started,
            upstream_status=proto_mapping.upstream_status(self.availability.state()),
            queue=self._queue(quota),
        )

    async def observe(self) -> None:
        """Update the gauges."""
        connections, idle = self.pool.connections()
        metrics.POOL_CONNECTIONS.labels(state="idle").set(idle)
        metrics.POOL_CONNECTIONS.labels(state="active").set(connections - idle)
        metrics.BATCH_SAVED_CALLS.set(max(0, self.batcher.client_calls - self.batcher.upstream_calls))
        seen = await self.limiter.usage()
        metrics.QUOTA_LEFT.set(max(0, seen.minute_limit - seen.minute_used))
        metrics.QUOTA_LIMIT.set(seen.minute_limit)
        metrics.QUOTA_MONTH_USED.set(seen.month_used)
        metrics.QUOTA_MONTH_LIMIT.set(self.limiter.limits.per_month)
        metrics.QUOTA_PAUSED.set(seen.paused_seconds)
        metrics.REDIS_UP.set(await self.store.answers())

    async def _reports(self, ids: Sequence[str]) -> list[market_pb2.QualityReport]:
        """Return a report for each currency in which a coin is stored, or defects were found."""
        reports: list[market_pb2.QualityReport] = []
        for coin in split_ids(ids)[0] if ids else ():
            known = self.archive.currencies(coin) | self.quality.currencies(coin)
            currencies = sorted(known or {FALLBACK_CURRENCY})
            reports += [await self._quality(coin, currency) for currency in currencies]
        return reports

    async def _quality(self, coin: str, currency: str) -> market_pb2.QualityReport:
        """Return the known defects of a coin's data, and the gaps in its stored days."""
        report = self.quality.of(coin, currency)
        candles = await self.archive.read(coin, currency)
        if candles:
            report.last_good_day = candles[-1].day
            report.missing_days = (candles[-1].day - candles[0].day).days + 1 - len(candles)
        return proto_mapping.quality(report)

    def _pool(self) -> market_pb2.PoolStatus:
        connections, idle = self.pool.connections()
        return market_pb2.PoolStatus(
            max_connections=self.settings.max_connections,
            connections=connections,
            idle_connections=idle,
            requests_in_flight=self.pool.in_flight(),
        )

    def _breakers(self) -> list[market_pb2.BreakerStatus]:
        return [
            market_pb2.BreakerStatus(
                name=name,
                state=breaker.state.replace("-", "_"),
                reason=reason,
                retry_after_seconds=breaker.retry_after_seconds or None,
                opened_total=opened,
            )
            for name, breaker, reason, opened in self.breakers.each()
        ]

    def _layer(self, layer: str) -> market_pb2.CacheLayerStatus:
        shared = layer == "redis"
        return market_pb2.CacheLayerStatus(
            layer=layer,
            hits=self.counts.hits[layer],
            misses=self.counts.misses[layer],
            errors=self.executor.errors + self.counts.garbage if shared else 0,
            entries=0 if shared else self.counts.entries(),
        )

    async def _quota(self) -> market_pb2.QuotaStatus:
        seen = await self.limiter.usage()
        return market_pb2.QuotaStatus(
            per_minute_limit=seen.minute_limit,
            per_minute_left=max(0, seen.minute_limit - seen.minute_used),
            per_month_limit=self.limiter.limits.per_month,
            per_month_used=seen.month_used,
            shared=self.limiter.shared,
            paused_for_seconds=seen.paused_seconds or None,
            replicas=self.limiter.replicas,
            share_note=self._share_note(),
        )

    def _share_note(self) -> str:
        """Return which part of the plan this replica uses without Redis; empty while Redis answers."""
        if self.limiter.shared:
            return ""
        replicas = self.limiter.replicas
        part = "the whole plan" if replicas == 1 else f"1/{replicas} of the plan"
        if self.limiter.redis_seen:
            return f"This replica uses {part} while Redis does not answer."
        return (
            f"This replica uses {part}: Redis has not answered since the start, so only replicas on the same"
            " archive folder are counted. Set MARKET_REPLICAS if replicas have separate folders."
        )

    def _queue(self, quota: market_pb2.QuotaStatus) -> market_pb2.QueueStatus:
        waiting = self.limiter.waiting()
        total = sum(waiting.values())
        limits = self.limiter.limits
        pace = limits.window_seconds / max(1, limits.per_minute)
        turns = [self.limiter.seconds_to_turn(priority) or 0.0 for priority in waiting]
        first = min(turns, default=0.0)
        current, seconds_left = self.upstream.current(), first + pace * (total - 1) if total else 0.0
        calls_left = int(quota.per_minute_left) if quota.per_minute_limit > 0 else None
        return market_pb2.QueueStatus(
            waiting=total,
            seconds_left=seconds_left,
            current=current,
            in_words=queue_in_words(current, total, calls_left, seconds_left),
            by_priority=[
                market_pb2.QueueLength(priority=priority.name.lower(), waiting=count)
                for priority, count in waiting.items()
            ],
        )

    def _batch(self) -> market_pb2.BatchStatus:
        calls = self.batcher.upstream_calls
        return market_pb2.BatchStatus(
            client_calls=self.batcher.client_calls,
            upstream_calls=calls,
            mean_batch_size=self.batcher.ids_sent / calls if calls else 0.0,
        )

    def _archive(self) -> market_pb2.ArchiveStatus:
        extent = self.archive.extent()
        return market_pb2.ArchiveStatus(
            coins=extent.coins,
            candles=extent.candles,
            first_date=proto_mapping.iso_date(extent.first_day),
            last_date=proto_mapping.iso_date(extent.last_day),
            size_bytes=extent.size_bytes,
        )


def queue_in_words(current: str, waiting: int, calls_left: int | None, seconds_left: float) -> str:
    """Return the upstream's work for a progress line; empty if nothing is fetched and no call waits.

    Args:
        current: The present fetch, such as `history of bitcoin`; empty without one.
        waiting: Calls that wait for the rate limit.
        calls_left: Calls left in this minute; None without a limit.
        seconds_left: Estimated seconds until the last waiting call starts.
    """
    if not (current or waiting):
        return ""
    parts = [current or f"{waiting} calls wait"]
    if calls_left is not None:
        parts.append(f"{calls_left} calls left this minute")
    if seconds_left >= 1:
        parts.append(f"about {seconds_left:.0f} s left")
    return ", ".join(parts)
