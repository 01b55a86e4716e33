"""Memory that clients can make the gateway hold: a hostile kind of request for each structure that grows."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import psutil
import pytest

from coincast_gateway.app import build
from coincast_gateway.asgi_types import App
from coincast_gateway.settings import Settings
from tests.contract.gateway.fakes import World, world
from tests.faults.gateway_process import running_gateway

pytestmark = [pytest.mark.faults, pytest.mark.timeout(580)]
REQUESTS = 20_000
WARM_UP = 2_000
AT_ONCE = 20
CONNECTIONS = 8
# Requests that a connection sends before it reads a reply.
PIPELINED = 20
# Of which the caches may take CACHE_BYTES; allocators round up.
MAX_GROWTH_MB = 40
CACHE_BYTES = 8 * 1024 * 1024
JSON_TYPE = (b"content-type", b"application/json")
LOCALHOST = (b"host", b"localhost")
Request = dict[str, Any]


def request(
    path: str,
    query: str = "",
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    body: bytes = b"",
    address: str = "127.0.0.1",
) -> Request:
    """Return the parts of a request that differ."""
    hosts = [] if any(name == b"host" for name, _ in headers) else [LOCALHOST]
    scope = {"path": path, "query_string": query.encode(), "headers": [*hosts, *headers], "method": method}
    return {"scope": scope | {"client": (address, 1)}, "body": body}


def wide(number: int) -> bytes:
    """Return a value of a kilobyte that no other request has."""
    return b"%d-" % number + b"x" * 1000


# kind -> (the n-th request, the status of its reply)
KINDS: dict[str, tuple[Callable[[int], Request], int]] = {
    # Without Redis keys cannot be checked, and the scope admin takes the administrator's token.
    "unknown keys": (lambda n: request("/models/audit", "", (b"x-api-key", wide(n))), 503),
    "missing keys": (lambda n: request("/models/audit", "", (b"x-" + wide(n), b"1")), 401),
    "unknown paths": (lambda n: request(f"/{wide(n).decode()}"), 404),
    "unknown parameters": (lambda n: request("/prices", f"ids=bitcoin&{wide(n).decode()}=1"), 422),
    "wrong values": (lambda n: request("/forecasts", f"ids=bitcoin&days={wide(n).decode()}"), 422),
    "methods": (lambda n: request("/prices", "ids=bitcoin", method=f"M{n}"), 405),
    "hosts": (lambda n: request("/prices", "ids=bitcoin", (b"host", wide(n))), 403),
    "accepted codings": (lambda n: request("/health", "", (b"accept-encoding", wide(n))), 200),
    "entity tags": (lambda n: request("/health", "", (b"if-none-match", wide(n))), 200),
    "dates": (lambda n: request("/health", "", (b"if-modified-since", wide(n))), 200),
    "request ids": (lambda n: request("/health", "", (b"x-request-id", wide(n))), 200),
    "traces": (
        lambda n: request("/health", "", (b"traceparent", b"00-%032x-%016x-01" % (n + 1, n + 1))),
        200,
    ),
    "accepted types": (
        lambda n: request("/prices", "ids=bitcoin", (b"accept", b"application/json," + wide(n))),
        200,
    ),
    "idempotency keys": (
        lambda n: request(
            "/training/jobs",
            "",
            JSON_TYPE,
            (b"idempotency-key", b"%d" % n),
            method="POST",
            body=b'{"model":1}',
        ),
        422,
    ),
    "bodies": (
        lambda n: request(
            "/risk/portfolio", "", JSON_TYPE, method="POST", body=json.dumps({wide(n).decode(): n}).encode()
        ),
        422,
    ),
    "addresses": (lambda n: request("/health", address=f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"), 200),
    "cached replies": (lambda n: request("/coins", f"query={n}"), 200),
    "last forecasts": (lambda n: request("/forecasts", f"ids=bitcoin&quantiles=0.{n + 1:05d}1"), 200),
}


async def send_request(app: App, made: Request) -> int:
    """Return the status of a request that is handed to the application."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": made["body"], "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "root_path": "",
        "server": ("127.0.0.1", 8000), "extensions": {}, **made["scope"],
    }  # fmt: skip
    await app(scope | {"raw_path": scope["path"].encode()}, receive, send)
    return statuses[0]


@asynccontextmanager
async def application(**settings: Any) -> AsyncIterator[tuple[World, App]]:
    """Yield a gateway as an application, over fake services."""
    async with world() as there, AsyncExitStack() as stack:
        given: dict[str, Any] = {
            "redis_url": "",
            "port": 0,
            "metrics_port": 0,
            "hot_cache_bytes": CACHE_BYTES,
        }
        given |= {**there.targets, **settings}
        yield there, (await build(Settings(**given), stack)).app


def resident_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 1e6)


@pytest.mark.parametrize("kind", KINDS)
async def test_20000_hostile_requests_hold_the_resident_growth(kind: str) -> None:
    make, status = KINDS[kind]
    settings: dict[str, Any] = {"admin_token": "secret"} if kind in ("unknown keys", "missing keys") else {}
    if kind == "addresses":
        settings = {"address_per_minute": 1000}
    async with application(**settings) as (there, app):

        async def batch(first: int, last: int) -> None:
            for start in range(first, last, AT_ONCE):
                requests = [make(number) for number in range(start, min(last, start + AT_ONCE))]
                found = set(await asyncio.gather(*[send_request(app, each) for each in requests]))
                assert found == {status}, (kind, found)
            for service in (there.market, there.forecast, there.training):
                service.script.calls.clear()

        await batch(0, WARM_UP)
        before = resident_mb()
        for first in range(WARM_UP, REQUESTS, 1000):
            await batch(first, min(REQUESTS, first + 1000))
        grown = resident_mb() - before
    print(f"\n{REQUESTS} requests with {kind}: memory grew by {grown:.1f} MB")
    assert grown < MAX_GROWTH_MB


def wire(made: Request) -> bytes:
    """Return a request as it goes over a socket."""
    scope, body = made["scope"], made["body"]
    target = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
    headers = [*scope["headers"], (b"content-length", b"%d" % len(body))]
    if scope["client"][0] != "127.0.0.1":
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
    head = f"{scope['method']} {target} HTTP/1.1\r\n".encode()
    return head + b"".join(b"%s: %s\r\n" % pair for pair in headers) + b"\r\n" + body


async def send_pipelined(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, batch: list[tuple[str, Request]]
) -> list[tuple[str, int]]:
    """Send requests without waiting between them; return the status of each with its kind."""
    writer.write(b"".join(wire(made) for _, made in batch))
    found = []
    for kind, _ in batch:
        head = await reader.readuntil(b"\r\n\r\n")
        found.append((kind, int(head[9:12])))
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is not None:
            await reader.readexactly(int(length[1]))
    return found


async def test_20000_hostile_requests_of_all_kinds_over_sockets() -> None:
    """The whole way, parsers and connections included, to a gateway in a process of its own.

    A method that does not exist ends its connection, so that no pipeline has one.
    """
    kinds = [kind for kind in KINDS if kind != "methods"]
    settings = {
        "hot_cache_bytes": CACHE_BYTES,
        "drain_seconds": 0,
        "admin_token": "token-of-an-administrator",
    }
    wrong: set[tuple[str, int]] = set()
    async with world() as there, running_gateway(there, **settings) as (port, process):

        async def send_all(numbers: range) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for start in range(0, len(numbers), PIPELINED):
                chosen = [(kinds[n % len(kinds)], n) for n in numbers[start : start + PIPELINED]]
                batch = [(kind, KINDS[kind][0](number)) for kind, number in chosen]
                replies = await send_pipelined(reader, writer, batch)
                wrong.update((kind, status) for kind, status in replies if status != KINDS[kind][1])
                for service in (there.market, there.forecast, there.training):
                    service.script.calls.clear()
            writer.close()
            await writer.wait_closed()

        async def spread(first: int, last: int) -> None:
            shares = (range(first + place, last, CONNECTIONS) for place in range(CONNECTIONS))
            await asyncio.gather(*map(send_all, shares))

        await spread(0, WARM_UP)
        watched = psutil.Process(process.pid)
        before = watched.memory_info().rss
        await spread(WARM_UP, WARM_UP + REQUESTS)
        grown = (watched.memory_info().rss - before) / 1e6
    print(f"\n{REQUESTS} requests of {len(kinds)} kinds over sockets: memory grew by {grown:.1f} MB")
    assert wrong == set()
    assert grown < MAX_GROWTH_MB


async def test_300_slow_readers_stay_within_100_mb() -> None:
    """Sockets that ask for large replies in a pipeline and read nothing: buffers are bounded each."""
    ask = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\naccept-encoding: identity\r\n\r\n"
    async with world() as there:
        host, port = there.url.removeprefix("http://").split(":")
        await send_and_read(host, int(port), ask)
        before = resident_mb()
        sockets = []
        for _ in range(300):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            with suppress(BlockingIOError):
                reader.connect((host, int(port)))
            sockets.append(reader)
        await asyncio.sleep(1.0)
        for reader in sockets:
            with suppress(BlockingIOError, ConnectionError):
                reader.send(ask * 20)
        await asyncio.sleep(5.0)
        grown = resident_mb() - before
        for reader in sockets:
            reader.close()
        # A good client is served meanwhile.
        assert (await send_and_read(host, int(port), ask)).startswith(b"HTTP/1.1 200")
    print(f"\n300 slow readers of large replies: memory grew by {grown:.1f} MB")
    assert grown < 100


async def send_and_read(host: str, port: int, ask: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(ask)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head
