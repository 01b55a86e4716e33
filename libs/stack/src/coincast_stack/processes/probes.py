"""Probes of started processes, each with a timeout."""

from __future__ import annotations

import asyncio
import json
import ssl
from functools import cache
from typing import Any

import httpx2
import redis.asyncio
from redis.exceptions import RedisError

from coincast_stack.errors import SetupError

PROBE_SECONDS = 2.0


async def answers_http(url: str) -> bool:
    """Return whether a GET is answered with a status below 400."""
    status, _ = await get(url)
    return 0 < status < 400


async def get(url: str, timeout_seconds: float = PROBE_SECONDS) -> tuple[int, bytes]:
    """Return status and body of a GET; status 0 without an answer."""
    try:
        async with httpx2.AsyncClient(timeout=timeout_seconds, trust_env=False, verify=trusted()) as client:
            reply = await client.get(url)
    except (httpx2.HTTPError, OSError):
        return 0, b""
    return reply.status_code, reply.content


@cache
def trusted(ca_file: str = "") -> ssl.SSLContext:
    """Return the TLS context with the usual certificates; to load it takes longer than a probe.

    Args:
        ca_file: File of further certificates to trust (MARKET_UPSTREAM_CA_FILE); empty for none.

    Raises:
        OSError: The file cannot be read, or has no certificates.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def as_json(body: bytes) -> Any:
    """Return the body as JSON values; None if it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return None


async def accepts_connections(host: str, port: int) -> bool:
    """Return whether something listens at a port."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def answers_redis(url: str) -> bool:
    """Return whether a Redis answers PING.

    Raises:
        SetupError: The address is malformed. The message does not quote it, since it may have a password.
    """
    try:
        async with redis.asyncio.Redis.from_url(
            url, socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS
        ) as client:
            return bool(await client.ping())
    except (RedisError, OSError):
        return False
    except (ValueError, TypeError):
        raise SetupError("REDIS_URL is malformed; write it like redis://127.0.0.1:6379/0") from None
