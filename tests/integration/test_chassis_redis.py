"""The Redis client against a real server: quick to give up, never another key's value."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest
import redis.exceptions

from coincast_chassis.redis import open_redis
from tests.contract.valkey_harness import RunningValkey, running_valkey

# The client gives up after 50 ms. With redis-py's defaults each of these cases costs 20 to 58 s.
LITTLE_SECONDS = 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[RunningValkey]:
    with running_valkey() as running:
        yield running


def url(server: RunningValkey) -> str:
    return server.url


async def test_a_cancelled_command_never_gives_another_key_s_value(server):
    client = open_redis(url(server), max_connections=4, timeout_seconds=1.0)
    keys = [f"key-{i}" for i in range(50)]
    await client.mset({key: key for key in keys})
    wrong: list[tuple[str, bytes]] = []

    async def read(key: str, cancel: bool) -> None:
        task = asyncio.ensure_future(client.get(key))
        if cancel:
            await asyncio.sleep(0)
            task.cancel()
        (value,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(value, bytes) and value.decode() != key:
            wrong.append((key, value))

    for round_ in range(40):
        await asyncio.gather(*(read(key, (i + round_) % 3 == 0) for i, key in enumerate(keys)))
    await client.aclose()
    assert wrong == []


async def test_a_stopped_server_costs_a_caller_little(server):
    client = open_redis(url(server))
    await client.ping()
    pid = (await client.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.perf_counter()
        with pytest.raises((redis.exceptions.TimeoutError, redis.exceptions.ConnectionError)):
            await client.get("key")
        assert time.perf_counter() - began < LITTLE_SECONDS
    finally:
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(0.1)
    assert await client.ping()
    await client.aclose()


async def test_a_dead_server_costs_a_caller_little():
    client = open_redis("redis://127.0.0.1:1/0")
    began = time.perf_counter()
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.get("key")
    assert time.perf_counter() - began < LITTLE_SECONDS
    await client.aclose()


async def test_a_used_up_pool_is_an_error_soon(server):
    client = open_redis(url(server), max_connections=1)
    held = await client.connection_pool.get_connection()
    began = time.perf_counter()
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.get("key")
    assert time.perf_counter() - began < LITTLE_SECONDS
    await client.connection_pool.release(held)
    await client.aclose()
