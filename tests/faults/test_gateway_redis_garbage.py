"""A Redis that holds or answers garbage costs the gateway neither a reply nor a key: it is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson
import pytest
import redis.asyncio
from prometheus_client import REGISTRY

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import Unavailable
from coincast_chassis.redis import open_redis
from coincast_gateway.auth import authenticator, factory
from coincast_gateway.auth.api_keys import REDIS_KEY, ApiKeyCache, KeyStore
from coincast_gateway.auth.authenticator import refresh_keys
from coincast_gateway.cache.redis_tier import PREFIX
from tests.contract.gateway.fakes import world
from tests.contract.valkey_harness import running_valkey
from tests.faults.test_market_redis_faults import liar

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]
ASK = "/prices?ids=bitcoin"
BAD_RECORDS = [
    b"garbage", b"[]", b"7", b"{}", b"\xff\xfe",
    b'{"name": 7, "scopes": [], "created_at": 1, "per_minute": 0}',
    b'{"name": "x", "scopes": 5, "created_at": 1, "per_minute": 0}',
    b'{"name": "x", "scopes": ["root"], "created_at": 1, "per_minute": 0}',
    b'{"name": "x", "scopes": ["read"], "created_at": null, "per_minute": 0}',
    b'{"name": "x", "scopes": ["read"], "created_at": 1, "per_minute": "many"}',
    b'{"name": "x", "scopes": [["read"]], "created_at": 1, "per_minute": 0}',
]  # fmt: skip


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def corrupted(good: bytes) -> dict[str, bytes]:
    head, _, body = good.partition(b"\n")
    fields = orjson.loads(head)
    return {
        "no JSON": b"garbage",
        "nothing": b"",
        "a list": b"[]\n" + body,
        "no fields": b"{}\n" + body,
        "words for times": orjson.dumps({**fields, "fresh": "soon"}) + b"\n" + body,
        "no headers": orjson.dumps({**fields, "headers": 7}) + b"\n" + body,
        "half a body": good[:-10],
    }


async def test_garbage_among_shared_replies_is_made_again() -> None:
    with running_valkey() as valkey:
        client = open_redis(valkey.url, timeout_seconds=2)
        given = {"redis_url": valkey.url, "share_replies": True, "redis_timeout_seconds": 2}
        async with (
            world(**given, prices_fresh_seconds=30) as there,
            httpx2.AsyncClient(base_url=there.url) as http,
        ):
            whole = await http.get(ASK)
            (key,) = await client.keys(PREFIX + "*")
            stored = await client.get(key)
            assert isinstance(stored, bytes)
            kinds = corrupted(stored)
        for kind, raw in kinds.items():
            before = counted("coincast_gateway_shared_replies_total", outcome="garbage")
            await client.set(key, raw)
            # A gateway that was just started: it has no copy of its own.
            async with world(**given) as there, httpx2.AsyncClient(base_url=there.url) as http:
                reply = await http.get(ASK)
            assert (reply.status_code, reply.content) == (200, whole.content), kind
            assert counted("coincast_gateway_shared_replies_total", outcome="garbage") == before + 1, kind
        await client.aclose()
    print(f"\n{len(kinds)} kinds of garbage among shared replies: each was rendered again and counted")


@pytest.mark.parametrize(
    "answer", [b":1\r\n", b"+OK\r\n", b"$3\r\nabc\r\n", b"*1\r\n:1\r\n", b"HTTP/1.1 400\r\n"]
)
async def test_a_redis_that_answers_garbage_is_as_good_as_none(answer: bytes) -> None:
    async with liar(answer) as url:
        given = {"redis_url": url, "share_replies": True, "address_per_minute": 1000}
        async with world(**given) as there, httpx2.AsyncClient(base_url=there.url, timeout=20) as http:
            for path in (
                ASK,
                "/api/v3/ping",
                "/health",
                "/health/detailed",
                "/health/trends",
                "/health/ready",
            ):
                reply = await http.get(path)
                assert reply.status_code == 200, (path, reply.text)
            parts = {each["name"]: each for each in (await http.get("/health/detailed")).json()["components"]}
            print(f"\n{answer!r}: served; redis is {parts['redis']['status']}: {parts['redis']['sentence']}")
            assert parts["redis"]["status"] == "degraded"


async def test_where_keys_are_wanted_a_lying_redis_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "LOAD_PAUSE_SECONDS", 0.01)
    async with liar(b":1\r\n") as url:
        with pytest.raises(Unavailable, match="cannot be read"):
            async with world(redis_url=url, require_keys=True):
                pass


async def test_a_spoilt_record_takes_no_other_key_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "REFRESH_SECONDS", 0.1)
    with running_valkey() as valkey:
        client: redis.asyncio.Redis = open_redis(valkey.url, timeout_seconds=2)
        store = KeyStore(client)
        key = await store.create("good", "read")
        before = counted("coincast_gateway_bad_key_records_total")
        given = {"redis_url": valkey.url, "require_keys": True, "redis_timeout_seconds": 2}
        async with world(**given) as there, httpx2.AsyncClient(base_url=there.url) as http:
            rows: dict[Any, Any] = {f"{n:064x}": raw for n, raw in enumerate(BAD_RECORDS)}
            await client.hset(REDIS_KEY, mapping={**rows, b"\xff": b"{}"})
            late = await KeyStore(client).create("later", "read")
            async with asyncio.timeout(20):
                while (await http.get(ASK, headers={"x-api-key": late})).status_code != 200:  # noqa: ASYNC110 - HTTP has no event
                    await asyncio.sleep(0.05)
            assert (await http.get(ASK, headers={"x-api-key": key})).status_code == 200
            assert (await http.get(ASK)).status_code == 401
        bad = counted("coincast_gateway_bad_key_records_total") - before
        ring = ApiKeyCache()
        await refresh_keys(ring, store, SystemClock())
        assert [record.name for record in await store.all()] == ["good", "later"]
        assert len(ring) == 2
        await client.aclose()
    print(f"\n{len(BAD_RECORDS) + 1} corrupt records: both good keys are let in; counted {bad:.0f} times")
    assert bad >= len(BAD_RECORDS) + 1
