"""Trends: samples of the system's health, stored for seven days and thinned with age; gaps stay gaps."""

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
        """The Redis key of its sorted set by time."""
        return f"{KEY}:{self.step_seconds}"


TIERS = (Tier(30, 2 * 3600), Tier(300, 24 * 3600), Tier(1800, 7 * 24 * 3600))
# The worst of a span says more than its mean.
WORST = frozenset({"p95_ms", "p99_ms", "server_error_share", "cpu_percent", "memory_mb"})


def merged(samples: list[Sample]) -> Sample:
    """Merge the samples of a span: means, the worst value where that is what counts, the worst statuses."""
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
    """Stores samples in Redis, or in memory where Redis is unavailable."""

    def __init__(self, redis: redis.asyncio.Redis | None, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._open: dict[int, list[Sample]] = {tier.step_seconds: [] for tier in TIERS}
        self._memory = {
            tier.step_seconds: deque[Sample](maxlen=tier.kept_seconds // tier.step_seconds) for tier in TIERS
        }

    async def add(self, sample: Sample) -> None:
        """Take a sample; each tier writes one merged sample a step."""
        for tier in TIERS:
            pending = self._open[tier.step_seconds]
            if pending and _bucket(tier, pending[0]) != _bucket(tier, sample):
                await self._write(tier, merged(pending))
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
                # One sample a bucket, whichever process writes it: the later replaces the earlier.
                pipe.zremrangebyscore(tier.key, bucket, bucket)
                pipe.zadd(tier.key, {orjson.dumps(sample): bucket})
                pipe.zremrangebyscore(tier.key, "-inf", oldest)
                pipe.expire(tier.key, tier.kept_seconds)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.debug("health_sample_not_shared", reason=str(error))

    async def read(self, hours: float) -> dict[str, Any]:
        """Return a regular grid over the last hours: a sample a step, null where there was none."""
        tier = next((t for t in TIERS if hours * 3600 <= t.kept_seconds), TIERS[-1])
        step = tier.step_seconds
        last = math.floor(self._clock.now() / step) * step - step
        first = last - math.floor(hours * 3600 / step) * step + step
        found = {_bucket(tier, sample): sample for sample in await self._load(tier, first)}
        for finer in reversed([each for each in TIERS if each.step_seconds < step]):
            await self._fill(found, tier, finer, first)
        if self._open[step]:
            found.setdefault(last + step, merged(self._open[step]))
            last += step
        grid = range(first, last + 1, step)
        points = [{"at": at, "sample": found.get(at)} for at in grid]
        return {"hours": hours, "step_seconds": step, "points": points, "gaps": gaps(points, step)}

    async def _fill(self, found: dict[int, Sample], tier: Tier, finer: Tier, first: float) -> None:
        """Fill spans that a process began and ended before writing from the samples of the finer tier."""
        lacking: dict[int, dict[int, Sample]] = {}
        for sample in await self._load(finer, first):
            if _bucket(tier, sample) not in found:
                lacking.setdefault(_bucket(tier, sample), {})[_bucket(finer, sample)] = sample
        found.update({at: merged(list(samples.values())) for at, samples in lacking.items()})

    async def _load(self, tier: Tier, first: float) -> list[Sample]:
        kept = list(self._memory[tier.step_seconds])
        if self._redis is not None:
            try:
                rows = await self._redis.zrangebyscore(tier.key, first, "+inf")
                kept = [*(sample for row in rows if (sample := _sample(row))), *kept]
            except (RedisError, OSError, TypeError):  # away, or not a list
                return kept
        return kept


def gaps(points: list[dict[str, Any]], step: int) -> list[dict[str, int]]:
    """Return spans without a sample, as [from, to) in UNIX seconds."""
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
    """Decode a stored sample; None for anything else."""
    try:
        found = orjson.loads(row) if isinstance(row, bytes) else None
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and {"at", "statuses"} <= set(found) else None


def _bucket(tier: Tier, sample: Sample) -> int:
    return int(sample["at"] // tier.step_seconds) * tier.step_seconds


async def sample_forever(store: TrendStore, take: Any, *, interval_seconds: float = 10.0) -> None:
    """Take a sample every few seconds until cancelled; one that fails is a gap, not an end."""
    while True:
        try:
            await store.add(await take())
        except Exception:
            log.exception("health_sample_failed")
        await asyncio.sleep(interval_seconds)
