"""Job store in Redis, so that jobs survive a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from coincast_chassis.errors import Unavailable
from coincast_training.domain import Job
from coincast_training.jobs.serialization import job_from_json, job_to_json

T = TypeVar("T")
PREFIX = "coincast:training:"
KEPT_JOBS = 500
KEPT_LOG_LINES = 10_000
CLAIM_SECONDS = 7 * 86400
PAUSES_SECONDS = (0.05, 0.2, 0.5)


class RedisJobStore:
    """Store each job as a string, an index by time of submission, and each log as a capped list."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def save(self, job: Job) -> None:
        """Write the job and its index entry in one transaction."""

        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(_job_key(job.job_id), job_to_json(job))
                pipe.zadd(PREFIX + "jobs", {job.job_id: job.submitted_at})
                await pipe.execute()

        await _tried(write)

    async def load_all(self) -> list[Job]:
        """Return the newest jobs, oldest first, and delete older ones."""

        async def read() -> list[Job]:
            await self._forget_old()
            ids = [_text(job_id) for job_id in await self._redis.zrange(PREFIX + "jobs", 0, -1)]
            if not ids:
                return []
            texts = await self._redis.mget([_job_key(job_id) for job_id in ids])
            return [job_from_json(text) for text in texts if text is not None]

        return await _tried(read)

    async def _forget_old(self) -> None:
        old = [_text(job_id) for job_id in await self._redis.zrange(PREFIX + "jobs", 0, -KEPT_JOBS - 1)]
        if old:
            await self._redis.zrem(PREFIX + "jobs", *old)
            await self._redis.delete(*map(_job_key, old), *map(_log_key, old))

    async def append_log(self, job_id: str, lines: Sequence[str]) -> None:
        """Append lines to the job's log, which retains its newest 10,000."""
        if not lines:
            return

        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.rpush(_log_key(job_id), *lines)
                pipe.ltrim(_log_key(job_id), -KEPT_LOG_LINES, -1)
                await pipe.execute()

        await _tried(write)

    async def read_log(self, job_id: str, tail: int) -> list[str]:
        """Return the last `tail` lines of the job's log."""

        async def read() -> list[Any]:
            return list(await _awaited(self._redis.lrange(_log_key(job_id), -tail, -1)))

        return [_text(line) for line in await _tried(read)]

    async def claim(self, idempotency_key: str, job_id: str) -> str:
        """Return the job that first claimed the key."""
        key = f"{PREFIX}claim:{idempotency_key}"

        async def write() -> str:
            await self._redis.set(key, job_id, nx=True, ex=CLAIM_SECONDS)
            return _text(await self._redis.get(key) or job_id)

        return await _tried(write)


def _job_key(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def _log_key(job_id: str) -> str:
    return f"{PREFIX}log:{job_id}"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def _awaited(value: Any) -> Any:
    """Await a reply: redis-py types its asynchronous replies as possibly synchronous."""
    return await value


async def _tried(call: Callable[[], Awaitable[T]]) -> T:
    """Retry through a short stall of Redis; every write here may be repeated."""
    for pause_seconds in PAUSES_SECONDS:
        try:
            return await call()
        except (RedisError, OSError):
            await asyncio.sleep(pause_seconds)
    try:
        return await call()
    except (RedisError, OSError) as error:
        raise Unavailable(
            "Redis, which keeps the training jobs, does not answer.", retry_after_seconds=5
        ) from error
