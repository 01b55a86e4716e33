"""HTTP as RFC 9110 and 9112 want it, byte by byte, with both of uvicorn's parsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from coincast_gateway.app import build
from coincast_gateway.server import Server, listen, uvicorn_config
from coincast_gateway.settings import Settings

NOWHERE = "127.0.0.1:1"
PARSERS = ("httptools", "h11")
HOST = b"host: localhost\r\n"
LAST = b"GET /health HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n"
JSON_TYPE = b"content-type: application/json\r\n"
UPGRADE = b"connection: upgrade\r\nupgrade: h2c\r\n"


@asynccontextmanager
async def listening(parser: str, *, header_seconds: float = 5.0) -> AsyncIterator[int]:
    """Yield the port of a gateway without services behind it."""
    settings = Settings(
        redis_url="", port=0, metrics_port=0, not_serving_seconds=0, header_seconds=header_seconds,
        body_seconds=5.0, market_target=NOWHERE, forecast_target=NOWHERE, training_target=NOWHERE,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        gateway = await build(settings, stack)
        config = uvicorn_config(gateway, settings)
        if parser == "h11":
            config.http = "h11"
        listener = listen("127.0.0.1", 0)
        server = Server(config, gateway, not_serving_seconds=0)
        serving = asyncio.create_task(server._serve([listener]))
        try:
            await server.up.wait()
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send bytes and return everything that comes until the server closes the connection."""
    async with connected(port) as (reader, writer):
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(20):
                return await reader.read()
    return b""


@dataclass(frozen=True)
class Case:
    """Bytes to send, and the statuses of the replies."""

    request: bytes
    statuses: tuple[int, ...]


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    head = b"POST %b HTTP/1.1\r\n%b%bcontent-length: %d\r\n" % (path, HOST, b"".join(headers), len(body))
    return head + b"\r\n" + body


PORTFOLIO = b'{"holdings":[{"id":"bitcoin","amount":0}]}'
CASES = {
    # An amount of 0 is refused with 422 only where the body has been read.
    "a body behind an upgrade": Case(
        post(b"/risk/portfolio", PORTFOLIO, JSON_TYPE, UPGRADE) + LAST, (422, 200)
    ),
    "a chunked body behind an upgrade": Case(
        b"POST /risk/portfolio HTTP/1.1\r\n"
        + HOST
        + JSON_TYPE
        + UPGRADE
        + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(PORTFOLIO), PORTFOLIO)
        + LAST,
        (422, 200),
    ),
    "an upgrade without a body": Case(
        b"GET /health HTTP/1.1\r\n" + HOST + UPGRADE + b"\r\n" + LAST, (200, 200)
    ),
    "a websocket": Case(
        b"GET /health HTTP/1.1\r\n" + HOST + b"connection: Upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + LAST,
        (200, 200),
    ),
    "no host": Case(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n", (400,)),
    "two hosts": Case(b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"connection: close\r\n\r\n", (400,)),
    "an old client without a host": Case(b"GET /health HTTP/1.0\r\n\r\n", (200,)),
    "an absolute target": Case(
        b"GET http://localhost/health HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n", (200,)
    ),
    "an absolute target of another host": Case(
        b"GET http://evil.example/health HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n", (403,)
    ),
    "an absolute target that names this machine": Case(
        b"GET http://localhost:80/health HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        (200,),
    ),
    "an absolute target with a name before its host": Case(
        b"GET http://localhost@evil.example/health HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n",
        (403,),
    ),
    "a host whose port is no number": Case(
        b"GET /health HTTP/1.1\r\nhost: localhost:evil\r\nconnection: close\r\n\r\n", (403,)
    ),
    "a host with a name before it": Case(
        b"GET /health HTTP/1.1\r\nhost: localhost:80@evil.example\r\nconnection: close\r\n\r\n", (403,)
    ),
    "a bracketed host with more behind it": Case(
        b"GET /health HTTP/1.1\r\nhost: [::1].evil.example\r\nconnection: close\r\n\r\n", (403,)
    ),
    "a bracketed host": Case(
        b"GET /health HTTP/1.1\r\nhost: [::1]:8000\r\nconnection: close\r\n\r\n", (200,)
    ),
    "a name with a space": Case(b"GET /health HTTP/1.1\r\n" + HOST + b"x : y\r\n\r\n", (400,)),
    "two lengths": Case(
        b"POST /risk/portfolio HTTP/1.1\r\n" + HOST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        (400,),
    ),
    "a length that is none": Case(
        b"POST /risk/portfolio HTTP/1.1\r\n" + HOST + b"content-length: +5\r\n\r\nabcde", (400,)
    ),
    "a chunk without a size": Case(
        b"POST /health HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n", (400,)
    ),
    "a header without a colon": Case(b"GET /health HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n", (400,)),
    "no version that is known": Case(b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n", (400,)),
    "a pipeline": Case(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n" + LAST, (200, 200)),
    "a method without its body": Case(
        b"GET /health HTTP/1.1\r\n" + HOST + b"content-length: 4\r\n\r\nabcd" + LAST, (200, 200)
    ),
    "only the head": Case(b"HEAD /health HTTP/1.1\r\n" + HOST + b"\r\n" + LAST, (200, 200)),
    "a wait for 100": Case(
        post(b"/risk/portfolio", PORTFOLIO, JSON_TYPE, b"expect: 100-continue\r\n") + LAST, (422, 200)
    ),
    "an empty line first": Case(b"\r\n" + LAST, (200,)),
}

# What h11 itself does otherwise: it takes an empty line before a request for a malformed one.
ONLY_HTTPTOOLS = {"an empty line first"}


def statuses(reply: bytes) -> tuple[int, ...]:
    """Return the statuses of the final responses in a stream."""
    found = [int(part[:3]) for part in reply.split(b"HTTP/1.1 ")[1:]]
    return tuple(each for each in found if each != 100)


@pytest.mark.parametrize("parser", PARSERS)
async def test_requests_are_read_as_the_rfcs_say(parser: str) -> None:
    wrong = {}
    async with listening(parser) as port:
        for name, case in CASES.items():
            if parser == "h11" and name in ONLY_HTTPTOOLS:
                continue
            found = statuses(await exchange(port, case.request))
            if found != case.statuses:
                wrong[name] = found
    assert not wrong


@pytest.mark.parametrize("parser", PARSERS)
async def test_a_request_may_come_in_any_pieces(parser: str) -> None:
    request = CASES["a body behind an upgrade"].request
    async with listening(parser) as port:
        for size in (1, 7, 50):
            pieces = [request[start : start + size] for start in range(0, len(request), size)]
            assert statuses(await exchange(port, *pieces)) == (422, 200), size


async def test_a_body_that_is_not_read_does_not_hold_the_connection() -> None:
    """An answered request whose body trickles in: the keep-alive timer must not start again at each byte."""
    head = b"POST /nowhere HTTP/1.1\r\n" + HOST + JSON_TYPE + b"content-length: 100000\r\n\r\n"
    async with listening("httptools", header_seconds=0.5) as port, connected(port) as (reader, writer):
        writer.write(head)
        started = asyncio.get_running_loop().time()
        closed = asyncio.create_task(reader.read())
        while not closed.done() and asyncio.get_running_loop().time() - started < 15:
            with suppress(ConnectionError):
                writer.write(b"x")
            await asyncio.wait({closed}, timeout=0.1)
        assert closed.done()


async def test_the_connection_goes_on_after_a_late_body() -> None:
    head = b"POST /nowhere HTTP/1.1\r\n" + HOST + JSON_TYPE + b"content-length: 4\r\n\r\n"
    async with listening("httptools", header_seconds=5.0) as port, connected(port) as (reader, writer):
        writer.write(head)
        first = await reader.readuntil(b"\r\n\r\n")
        assert statuses(first) == (404,)
        writer.write(b"late" + LAST)
        assert statuses(b"HTTP/1.1 404 " + await reader.read()) == (404, 200)
