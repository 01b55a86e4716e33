"""Cached values in a shared Redis: with a secret, what others wrote there is not served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from prometheus_client import REGISTRY

from coincast.market.v1 import market_pb2 as pb
from tests.contract.market_mock import MockUpstream, market_over, noon_clock
from tests.contract.valkey_harness import running_valkey

SECRET = "a secret of sixteen characters"


@pytest.fixture
async def client() -> AsyncIterator[redis.asyncio.Redis]:
    with running_valkey() as server:
        found = redis.asyncio.Redis.from_url(server.url)
        yield found
        await found.aclose()


async def price(stub: Any, coin: str) -> float:
    return float((await stub.GetPrices(pb.GetPricesRequest(ids=[coin]), timeout=10)).prices[0].price)


def refused() -> float:
    labels = {"operation": "read", "reason": "signature"}
    return REGISTRY.get_sample_value("coincast_market_redis_errors_total", labels) or 0.0


def url_of(client: redis.asyncio.Redis) -> str:
    port = client.connection_pool.connection_kwargs["port"]
    return f"redis://127.0.0.1:{port}/0"


async def stored_key(client: redis.asyncio.Redis, coin: str) -> bytes:
    for _ in range(100):
        keys = [key async for key in client.scan_iter(match=f"*quote:usd:{coin}") if b"lease" not in key]
        if keys:
            return bytes(keys[0])
    raise AssertionError("nothing was stored")


@pytest.mark.parametrize(("secret", "calls"), [(SECRET, 1), ("another secret, as long", 2), (None, 2)])
async def test_another_replica_reads_what_has_the_same_secret(
    client: redis.asyncio.Redis, tmp_path: Path, secret: str | None, calls: int
) -> None:
    mock = MockUpstream(noon_clock())
    async with market_over(mock, tmp_path / "a", redis_url=url_of(client), cache_secret=SECRET) as stub:
        await price(stub, "bitcoin")
        await stored_key(client, "bitcoin")
    async with market_over(mock, tmp_path / "b", redis_url=url_of(client), cache_secret=secret) as stub:
        assert await price(stub, "bitcoin") == 100.0
    assert mock.calls["simple/price"] == calls


async def test_a_value_that_was_copied_to_another_key_is_a_miss_and_counted(
    client: redis.asyncio.Redis, tmp_path: Path
) -> None:
    mock = MockUpstream(noon_clock())
    settings = {"redis_url": url_of(client), "cache_secret": SECRET}
    async with market_over(mock, tmp_path / "a", **settings) as stub:
        await price(stub, "bitcoin")
        key = await stored_key(client, "bitcoin")
    value = await client.get(key)
    assert isinstance(value, bytes)
    await client.set(key.replace(b"bitcoin", b"ethereum"), value)
    await client.set(key, value[:-3] + b"999")
    before = refused()
    async with market_over(mock, tmp_path / "b", **settings) as stub:
        assert await price(stub, "ethereum") == 100.0
        assert await price(stub, "bitcoin") == 100.0
    assert mock.calls["simple/price"] == 3
    assert refused() > before
