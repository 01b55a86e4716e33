"""A Redis client with short timeouts: a slow cache harms requests more than an unavailable one."""

from __future__ import annotations

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def open_redis(
    url: str, *, max_connections: int = 50, timeout_seconds: float = 0.05, decode_responses: bool = False
) -> redis.asyncio.Redis:
    """Return a client with its own connection pool; close it with `await client.aclose()`.

    With redis-py's default retries a stopped server delays a caller by 58 s. This client never retries.

    Args:
        url: Address of the server.
        max_connections: Size of the pool.
        timeout_seconds: Limit for each of these: to connect, to run a command, to wait for a free connection.
            For blocking commands (XREADGROUP BLOCK) it must be longer than the time for which they block.
        decode_responses: True for replies as text, False for bytes.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
        decode_responses=decode_responses,
    )
    return redis.asyncio.Redis.from_pool(pool)
