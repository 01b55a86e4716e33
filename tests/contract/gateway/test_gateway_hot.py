"""Ready replies: conditional requests, ages, compressed forms, one making for all who ask, CSV."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import random

import brotli
import httpx2
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from coincast_chassis.clock import ManualClock
from coincast_gateway.cache.content_encoding import COMPRESS, choose_encoding
from coincast_gateway.cache.response_cache import CacheRequest, ResponseCache
from coincast_gateway.rendering import RenderedResponse
from tests.contract.gateway.fakes import world

UNPACK = {
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "br": brotli.decompress,
    "gzip": gzip.decompress,
}


async def test_a_copy_that_is_current_is_not_sent_again() -> None:
    async with world(prices_fresh_seconds=60) as there, httpx2.AsyncClient(base_url=there.url) as http:
        first = await http.get("/prices?ids=bitcoin")
        assert first.headers["cache-control"] == "public, max-age=60"
        assert first.headers["last-modified"].endswith("GMT")
        assert 0 <= int(first.headers["age"]) <= 30
        again = await http.get("/prices?ids=bitcoin", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        other = await http.get("/prices?ids=bitcoin", headers={"if-none-match": '"something else"'})
        assert (other.status_code, other.content) == (200, first.content)
        head = await http.head("/prices?ids=bitcoin")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(first.content))


def market_json() -> bytes:
    """A hundred coins, with figures as little alike as those of a market."""
    dice = random.Random(7)
    names = ("price", "market_cap", "volume_24h", "high_24h", "low_24h", "change_24h_percent")
    rows = [
        {
            "id": f"coin-{n}", "symbol": f"c{n}", "name": f"Coin {n}", "vs_currency": "usd",
            **{name: round(dice.lognormvariate(8, 4), 2) for name in names},
            "last_updated_at": "2026-01-01T00:00:00Z", "as_of": "2026-01-01T00:00:00Z", "age_seconds": 1.5,
            "source": "live", "stale": False, "reason": None,
        }
        for n in range(100)
    ]  # fmt: skip
    return orjson.dumps({"markets": rows, "errors": []})


@pytest.mark.parametrize("encoding", COMPRESS)
def test_market_json_is_at_least_70_percent_smaller(encoding: str) -> None:
    body = market_json()
    packed = COMPRESS[encoding](body)
    print(f"{encoding}: {len(body)} -> {len(packed)} bytes, {1 - len(packed) / len(body):.0%} smaller")
    assert UNPACK[encoding](packed) == body
    assert len(packed) <= 0.3 * len(body)


@pytest.mark.parametrize("encoding", COMPRESS)
async def test_a_compressed_form_has_a_tag_of_its_own(encoding: str) -> None:
    async with world() as there:
        async with httpx2.AsyncClient(base_url=there.url) as http:
            plain = await http.get("/markets", headers={"accept-encoding": "identity"})
            url = f"{there.url}/markets"
            async with http.stream("GET", url, headers={"accept-encoding": encoding}) as reply:
                raw = b"".join([chunk async for chunk in reply.aiter_raw()])
        assert reply.headers["content-encoding"] == encoding
        assert "accept-encoding" in reply.headers["vary"]
        assert reply.headers["etag"] != plain.headers["etag"]
        assert UNPACK[encoding](raw) == plain.content


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (b"", "identity"), (b"gzip, br, zstd", "zstd"), (b"gzip;q=1, br;q=0.5", "gzip"), (b"*", "zstd"),
        (b"br", "br"), (b"zstd;q=0, gzip", "gzip"), (b"identity", "identity"), (b"gzip;q=x", "identity"),
        (b"gzip;q=0.5, identity", "identity"),
    ],
)  # fmt: skip
def test_the_clients_best_form_is_chosen(header: bytes, form: str) -> None:
    assert choose_encoding(header) == form


async def test_identical_requests_in_flight_are_one() -> None:
    async with world(prices_fresh_seconds=0) as there, httpx2.AsyncClient(base_url=there.url) as http:
        there.market.script.delay_seconds = 0.5
        replies = await asyncio.gather(*[http.get("/prices?ids=bitcoin") for _ in range(30)])
        requested = [call for call in there.market.script.calls if hasattr(call, "encode_json")]
    assert {reply.status_code for reply in replies} == {200}
    assert len(requested) <= 3


async def test_tables_come_as_csv_on_request() -> None:
    wanted = {"accept": "text/csv"}
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        reply = await http.get("/forecasts?ids=bitcoin&days=3", headers=wanted)
        assert reply.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(reply.text)))
        assert [row["horizon_days"] for row in rows] == ["1", "2", "3"]
        assert float(rows[0]["lower_80"]) < float(rows[0]["upper_80"])
        assert (await http.get("/prices?ids=bitcoin", headers=wanted)).text.startswith("id,vs_currency,price")
        assert (await http.get("/prices?ids=bitcoin", headers={"accept": "image/png"})).status_code == 406
        assert (await http.get("/prices?ids=bitcoin")).headers["content-type"] == "application/json"


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4000)), max_size=60))
def test_the_cache_never_holds_more_than_it_may(steps: list[tuple[int, int]]) -> None:
    async def play() -> None:
        cache = ResponseCache(max_bytes=20_000, clock=ManualClock())
        for key, size in steps:
            await cache.get(CacheRequest(key, lambda size=size: made(size)))  # type: ignore[misc]  # bound per turn
            assert cache.size_bytes <= 20_000
            assert (cache.size_bytes == 0) == (len(cache) == 0)

    async def made(size: int) -> RenderedResponse:
        return RenderedResponse(b"x" * size, fresh_seconds=10)

    asyncio.run(play())


def served_hot(status: int = 200) -> float:
    """Return how many requests for prices were answered from the cache in this process."""
    labels = {"route": "/prices", "method": "GET", "status": str(status), "served": "hot"}
    return REGISTRY.get_sample_value("coincast_gateway_requests_total", labels) or 0.0


async def test_a_hot_reply_spends_one_token_and_has_every_header() -> None:
    settings = {"prices_fresh_seconds": 60, "address_per_minute": 10}
    async with world(**settings) as there, httpx2.AsyncClient(base_url=there.url) as http:
        before = served_hot()
        replies = [await http.get("/prices?ids=bitcoin", headers={"x-request-id": "mine"}) for _ in range(11)]
        assert [reply.status_code for reply in replies] == [200] * 10 + [429]
        left = [
            int(reply.headers["ratelimit"].partition("r=")[2].partition(";")[0]) for reply in replies[:10]
        ]
        assert left == list(range(9, -1, -1))
        assert served_hot() - before == 9
        for reply in replies:
            assert reply.headers["x-request-id"] == "mine"
            assert reply.headers["x-content-type-options"] == "nosniff"
        assert {*replies[0].headers} == {*replies[9].headers}


@pytest.mark.parametrize(
    ("headers", "body", "status", "hot"),
    [
        ({}, b"", 200, 1),
        ({"x-request-id": "not a good id"}, b"", 200, 1),
        ({"origin": "https://app.example"}, b"", 200, 1),
        ({}, b"a body that no route reads", 200, 1),
        ({"host": "evil.example"}, b"", 403, 0),
        ({"x-api-key": "cc_unknown"}, b"", 200, 1),
        ({"accept": "text/html"}, b"", 406, 0),
    ],
)
async def test_what_a_task_would_do_differently_is_the_same_at_once(
    headers: dict[str, str], body: bytes, status: int, hot: int
) -> None:
    settings = {"prices_fresh_seconds": 60, "cors_origins": "https://app.example"}
    async with world(**settings) as there, httpx2.AsyncClient(base_url=there.url) as http:
        first = await http.get("/prices?ids=bitcoin")
        before = served_hot()
        reply = await http.request("GET", "/prices?ids=bitcoin", headers=headers, content=body or None)
        assert (reply.status_code, served_hot() - before) == (status, hot)
        if status == 200:
            assert reply.json()["prices"][0]["price"] == first.json()["prices"][0]["price"]
        allowed = reply.headers.get("access-control-allow-origin")
        assert allowed == ("https://app.example" if "origin" in headers else None)
        assert reply.headers["x-request-id"] != headers.get("x-request-id")
