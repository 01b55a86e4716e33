"""Job store in Redis, so that jobs survive a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from coincast_chassis.errors import Unavailable
from coincast_training.domain import Job
from coincast_training.jobs.ports import KEPT_JOBS
from coincast_training.jobs.serialization import job_from_json, job_to_json

T = TypeVar("T")
PREFIX = "coincast:training:"
KEPT_LOG_LINES = 10_000
CLAIM_SECONDS = 7 * 86400
PAUSES_SECONDS = (0.05, 0.2, 0.5)


class RedisJobStore:
    """Store each job as a string and each log as a short list; index jobs by the time of submission."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def save(self, job: Job) -> None:
        """Write a job and its index entry in one transaction."""

        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(_job_key(job.job_id), job_to_json(job))
                pipe.zadd(PREFIX + "jobs", {job.job_id: job.submitted_at})
                await pipe.execute()

        await _with_retries(write)

    async def load_all(self) -> list[Job]:
        """Return the newest KEPT_JOBS jobs, the oldest first, and delete older ones."""

        async def read() -> list[Job]:
            await self._delete_old()
            ids = [_text(job_id) for job_id in await self._redis.zrange(PREFIX + "jobs", 0, -1)]
            if not ids:
                return []
            texts = await self._redis.mget([_job_key(job_id) for job_id in ids])
            return [job_from_json(text) for text in texts if text is not None]

        return await _with_retries(read)

    async def _delete_old(self) -> None:
        await self.delete([_text(i) for i in await self._redis.zrange(PREFIX + "jobs", 0, -KEPT_JOBS - 1)])

    async def delete(self, job_ids: Sequence[str]) -> None:
        """Delete jobs, their logs and their index entries."""
        if not job_ids:
            return

        async def write() -> None:
            await self._redis.zrem(PREFIX + "jobs", *job_ids)
            await self._redis.delete(*map(_job_key, job_ids), *map(_log_key, job_ids))

        await _with_retries(write)

    async def append_log(self, job_id: str, lines: Sequence[str]) -> None:
        """Append lines to the log of a job, which keeps the newest KEPT_LOG_LINES."""
        if not lines:
            return

        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.rpush(_log_key(job_id), *lines)
                pipe.ltrim(_log_key(job_id), -KEPT_LOG_LINES, -1)
                await pipe.execute()

        await _with_retries(write)

    async def read_log(self, job_id: str, tail: int) -> list[str]:
        """Return the last `tail` lines of the log of a job."""

        async def read() -> list[Any]:
            return list(await _await_reply(self._redis.lrange(_log_key(job_id), -tail, -1)))

        return [_text(line) for line in await _with_retries(read)]

    async def claim(self, idempotency_key: str, job_id: str) -> str:
        """Claim an idempotency key for a job; return the id of the job that claimed it first."""
        key = f"{PREFIX}claim:{idempotency_key}"

        async def write() -> str:
            await self._redis.set(key, job_id, nx=True, ex=CLAIM_SECONDS)
            return _text(await self._redis.get(key) or job_id)

        return await _with_retries(write)


def _job_key(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def _log_key(job_id: str) -> str:
    return f"{PREFIX}log:{job_id}"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def _await_reply(value: Any) -> Any:
    """Await a reply of Redis.

    The types of redis-py allow a synchronous reply, which a plain `await` rejects.
    """
    return await value


async def _with_retries(call: Callable[[], Awaitable[T]]) -> T:
    """Call Redis again after short failures; all calls of this store may safely be repeated."""
    for pause_seconds in PAUSES_SECONDS:
        try:
            return await call()
        except (RedisError, OSError):
            await asyncio.sleep(pause_seconds)
    try:
        return await call()
    except (RedisError, OSError) as error:
        raise Unavailable(
            "Redis, which stores the training jobs, does not answer.", retry_after_seconds=5
        ) from error
