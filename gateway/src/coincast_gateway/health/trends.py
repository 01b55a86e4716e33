"""Trends: samples of the system's health over seven days, at a resolution that decreases with age.

A span without a sample is reported as a gap; it is not interpolated.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from coincast_chassis.clock import Clock
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger

KEY = "coincast:gateway:trends"
log = get_logger("coincast.gateway")
Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution: a sample every `step_seconds`, stored for `kept_seconds`."""

    step_seconds: int
    kept_seconds: int

    @property
    def key(self) -> str:
        """The Redis key of its sorted set, whose scores are UNIX seconds."""
        return f"{KEY}:{self.step_seconds}"


TIERS = (Tier(30, 2 * 3600), Tier(300, 24 * 3600), Tier(1800, 7 * 24 * 3600))
# Figures whose merged value is the highest of the span; other figures are averaged.
WORST = frozenset({"p95_ms", "p99_ms", "server_error_share", "cpu_percent", "memory_mb"})


def merge_samples(samples: list[Sample]) -> Sample:
    """Merge the samples of a span: means, or the highest value of the figures in `WORST`; worst statuses."""
    result: Sample = {"at": samples[-1]["at"], "samples": len(samples)}
    for name in sorted({name for sample in samples for name in sample} - {"at", "samples", "statuses"}):
        values = [sample[name] for sample in samples if sample.get(name) is not None]
        if not values:
            result[name] = None
        else:
            result[name] = max(values) if name in WORST else round(sum(values) / len(values), 4)
    order = ("ok", "degraded", "down")
    names = {name for sample in samples for name in sample["statuses"]}
    result["statuses"] = {
        name: max((s["statuses"][name] for s in samples if name in s["statuses"]), key=order.index)
        for name in names
    }
    return result


class TrendStore:
    """Stores samples in Redis and in memory, and reads them from both, so that it works without Redis."""

    def __init__(self, redis: redis.asyncio.Redis | None, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._open: dict[int, list[Sample]] = {tier.step_seconds: [] for tier in TIERS}
        self._memory = {
            tier.step_seconds: deque[Sample](maxlen=tier.kept_seconds // tier.step_seconds) for tier in TIERS
        }

    async def add(self, sample: Sample) -> None:
        """Add a sample. Each tier writes one merged sample per step."""
        for tier in TIERS:
            pending = self._open[tier.step_seconds]
            if pending and _bucket(tier, pending[0]) != _bucket(tier, sample):
                await self._write(tier, merge_samples(pending))
                pending.clear()
            pending.append(sample)

    async def _write(self, tier: Tier, sample: Sample) -> None:
        self._memory[tier.step_seconds].append(sample)
        if self._redis is None:
            return
        bucket = _bucket(tier, sample)
        oldest = self._clock.now() - tier.kept_seconds
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                # There is one sample per bucket: if several processes write one, the last one remains.
                pipe.zremrangebyscore(tier.key, bucket, bucket)
                pipe.zadd(tier.key, {orjson.dumps(sample): bucket})
                pipe.zremrangebyscore(tier.key, "-inf", oldest)
                pipe.expire(tier.key, tier.kept_seconds)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.debug("health_sample_not_shared", reason=without_path(error))

    async def read(self, hours: float) -> dict[str, Any]:
        """Return the samples of the last hours on a regular grid of the finest tier that reaches back so far.

        Args:
            hours: How many hours back.

        Returns:
            `hours`, `step_seconds`, `points` (each with `at` in UNIX seconds and a `sample`, which may be
            None) and `gaps`.
        """
        tier = next((t for t in TIERS if hours * 3600 <= t.kept_seconds), TIERS[-1])
        step = tier.step_seconds
        last = math.floor(self._clock.now() / step) * step - step
        first = last - math.floor(hours * 3600 / step) * step + step
        found = {_bucket(tier, sample): sample for sample in await self._load(tier, first)}
        for finer in reversed([each for each in TIERS if each.step_seconds < step]):
            await self._fill(found, tier, finer, first)
        if self._open[step]:
            found.setdefault(last + step, merge_samples(self._open[step]))
            last += step
        grid = range(first, last + 1, step)
        points = [{"at": at, "sample": found.get(at)} for at in grid]
        return {"hours": hours, "step_seconds": step, "points": points, "gaps": gaps(points, step)}

    async def _fill(self, found: dict[int, Sample], tier: Tier, finer: Tier, first: float) -> None:
        """Fill missing samples of a tier with merged samples of a finer one.

        They are missing if the process that collected them ended before it wrote the step of the tier.
        """
        missing: dict[int, dict[int, Sample]] = {}
        for sample in await self._load(finer, first):
            if _bucket(tier, sample) not in found:
                missing.setdefault(_bucket(tier, sample), {})[_bucket(finer, sample)] = sample
        found.update({at: merge_samples(list(samples.values())) for at, samples in missing.items()})

    async def _load(self, tier: Tier, first: float) -> list[Sample]:
        kept = list(self._memory[tier.step_seconds])
        if self._redis is not None:
            try:
                rows = await self._redis.zrangebyscore(tier.key, first, "+inf")
                kept = [*(sample for row in rows if (sample := _sample(row))), *kept]
            except (RedisError, OSError, TypeError):  # Redis failed, or did not reply with a list
                return kept
        return kept


def gaps(points: list[dict[str, Any]], step: int) -> list[dict[str, int]]:
    """Return the spans without a sample, as half-open intervals [from, to) in UNIX seconds."""
    found: list[dict[str, int]] = []
    for point in points:
        if point["sample"] is not None:
            continue
        if found and found[-1]["to"] == point["at"]:
            found[-1]["to"] += step
        else:
            found.append({"from": point["at"], "to": point["at"] + step})
    return found


def _sample(row: object) -> Sample | None:
    """Decode a stored sample; return None if the row is not one."""
    try:
        found = orjson.loads(row) if isinstance(row, bytes) else None
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and {"at", "statuses"} <= set(found) else None


def _bucket(tier: Tier, sample: Sample) -> int:
    return int(sample["at"] // tier.step_seconds) * tier.step_seconds


async def sample_forever(store: TrendStore, take: Any, *, interval_seconds: float = 10.0) -> None:
    """Take a sample every few seconds until cancelled. A failed one is logged and leaves a gap.

    Args:
        store: Where the samples are stored.
        take: Returns a sample; a coroutine function.
        interval_seconds: The time between samples.
    """
    while True:
        try:
            await store.add(await take())
        except Exception:
            log.exception("health_sample_failed")
        await asyncio.sleep(interval_seconds)
