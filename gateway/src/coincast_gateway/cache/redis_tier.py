"""Redis tier of the response cache, shared by processes; a failed read counts as a miss."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from coincast_gateway import metrics
from coincast_gateway.rendering import RenderedResponse

PREFIX = "coincast:gateway:reply:"
# Larger responses are not shared: their transfer to and from Redis costs more than rendering them again.
MAX_BYTES = 1024 * 1024
# If the remaining time to live of an entry exceeds its initial one by more than this, the clock of Redis was
# set back after the entry was stored.
CLOCK_STEP_SECONDS = 0.5


class RedisTier:
    """Responses shared through Redis. It fails open: without Redis each process renders its own responses."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def get(self, name: str) -> tuple[RenderedResponse, float] | None:
        """Return a fresh response that some process stored, and its age in seconds; otherwise None.

        The age is computed from the remaining time to live in Redis, since clocks of two machines may differ.
        """
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.get(_key(name))
                pipe.pttl(_key(name))
                raw, left_ms = await pipe.execute()
        except (RedisError, OSError, TypeError, ValueError):  # Redis failed, or sent a malformed reply
            metrics.SHARED.labels("error").inc()
            return None
        if raw is None:
            metrics.SHARED.labels("miss").inc()
            return None
        try:
            found = _read(raw, left_ms / 1000)
        except (TypeError, ValueError, KeyError, AttributeError):
            metrics.SHARED.labels("garbage").inc()
            return None
        metrics.SHARED.labels("miss" if found is None else "hit").inc()
        return found

    async def put(self, name: str, reply: RenderedResponse) -> None:
        """Store a successful response for the other processes, for as long as it is fresh."""
        if reply.status_code != 200 or reply.fresh_seconds < 0.5 or len(reply.body) > MAX_BYTES:
            return
        fields = {
            "digest": _digest(reply.body),
            "media_type": reply.media_type,
            "as_of": reply.as_of,
            "fresh": reply.fresh_seconds,
            "rows": reply.row_count,
            "headers": [(name.decode(), value.decode()) for name, value in reply.own_headers],
        }
        try:
            raw = orjson.dumps(fields) + b"\n" + reply.body
            await self._redis.set(_key(name), raw, px=int(reply.fresh_seconds * 1000))
        except (RedisError, OSError):
            metrics.SHARED.labels("error").inc()


def _read(raw: Any, left: float) -> tuple[RenderedResponse, float] | None:
    """Decode an entry that `put` stored.

    Args:
        raw: The bytes in Redis.
        left: Its remaining time to live in seconds.

    Returns:
        The response and its age in seconds. None if the entry has expired, or if its remaining time to live
        exceeds its initial one: then the clock of Redis was set back, and the age is unknown.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: The bytes were not written by `put`.
    """
    head, _, body = raw.partition(b"\n")
    fields = orjson.loads(head)
    age_seconds = float(fields["fresh"]) - left
    headers = tuple((name.encode(), value.encode()) for name, value in fields["headers"])
    if fields["digest"] != _digest(body):
        raise ValueError("The body does not match its digest.")
    reply = RenderedResponse(
        body,
        fields["media_type"],
        as_of=fields["as_of"],
        fresh_seconds=left,
        headers=headers,
        # Replicas of an earlier version do not store it.
        row_count=fields.get("rows"),
    )
    return (reply, max(0.0, age_seconds)) if left > 0 and age_seconds > -CLOCK_STEP_SECONDS else None


def _key(name: str) -> str:
    return PREFIX + _digest(name.encode())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
