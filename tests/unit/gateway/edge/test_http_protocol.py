"""Requests that the application answers at once, in the parser's own call, and those that get a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn

from coincast_gateway.asgi_types import READY, Receive, Scope, Send
from coincast_gateway.edge.http_protocol import SocketBounds, limited_protocol

BOUNDS = SocketBounds(max_header_bytes=4096, header_seconds=5.0, max_connections=100)


class Application:
    """Answers paths that begin with /ready at once with `ready`, and everything else with `task`."""

    def __init__(self) -> None:
        self.offered: list[str] = []
        self.fails_before = self.fails_after = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"task"})

    def answer_ready(self, scope: Scope) -> bool:
        self.offered.append(scope["path"])
        if self.fails_before:
            raise RuntimeError("before the answer")
        if not scope["path"].startswith("/ready"):
            return False
        assert scope["extensions"][READY](200, b"content-length: 5\r\n", b"ready")
        if self.fails_after:
            raise RuntimeError("after the answer")
        return True


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[int]:
    """Yield the port of a server of the application."""
    config = uvicorn.Config(
        app,
        port=0, http=limited_protocol(BOUNDS, app), ws="none", lifespan="off", log_config=None,
        access_log=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    loop = asyncio.create_task(server.main_loop())
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await loop
        await server.shutdown()


async def bodies(port: int, *parts: bytes) -> list[str]:
    """Send parts over one connection, and return which way each of the requests was answered, in order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    async with asyncio.timeout(10):
        received = (await reader.read()).decode()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert received.count("HTTP/1.1 200") == received.count("task") + received.count("ready")
    return ["ready" if "ready" in reply else "task" for reply in received.split("HTTP/1.1 ")[1:]]


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: localhost", *headers, "", ""]).encode()


LAST = get("/last", "connection: close")


@pytest.mark.parametrize(
    ("parts", "answers"),
    [
        ((get("/ready", "connection: close"),), ["ready"]),
        ((get("/other"), LAST), ["task", "task"]),
        # Of requests that arrive together one is answered at once.
        ((get("/ready/1") + get("/ready/2") + get("/ready/3") + LAST,), ["ready", "task", "task", "task"]),
        ((get("/other") + get("/ready") + LAST,), ["task", "task", "task"]),
    ],
)
async def test_one_of_the_requests_that_arrive_together_is_answered_at_once(
    parts: tuple[bytes, ...], answers: list[str]
) -> None:
    async with serving(Application()) as port:
        assert await bodies(port, *parts) == answers


async def test_a_connection_stays_open_after_an_answer_at_once() -> None:
    app = Application()
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(20):
            writer.write(get(f"/ready/{number}"))
            reply = await asyncio.wait_for(reader.readuntil(b"ready"), 5)
            assert b"connection: close" not in reply
        writer.close()
        await writer.wait_closed()
    assert app.offered == [f"/ready/{number}" for number in range(20)]


async def test_an_error_before_the_answer_leaves_the_request_to_a_task() -> None:
    app = Application()
    app.fails_before = True
    async with serving(app) as port:
        assert await bodies(port, get("/ready", "connection: close")) == ["task"]


async def test_an_error_after_the_answer_sends_no_second_one() -> None:
    app = Application()
    app.fails_after = True
    async with serving(app) as port:
        assert await bodies(port, get("/ready", "connection: close")) == ["ready"]
