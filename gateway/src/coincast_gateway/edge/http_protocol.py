"""uvicorn's HTTP protocol with the bounds it lacks: on headers, their time, and sockets that only sit."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from coincast_gateway.asgi_types import READY

# The kernel gives a connection up whose peer takes nothing for so long.
UNREAD_SECONDS = 30
# A refused peer that still sends is heard out, so far and so long: closed at once, it would get a reset and
# no answer.
LINGER_SECONDS = 2.0
LINGER_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SocketBounds:
    """What one connection, and all of them, may take."""

    max_header_bytes: int
    header_seconds: float
    max_connections: int


def write_ready(cycle: RequestResponseCycle, status: int, head: bytes, body: bytes) -> bool:
    """Send a whole reply in one write; `head` is header lines, each with its end, checked by who made them.

    Gives False where the reply must go the usual way: nothing was sent then. uvicorn checks every header of
    every reply anew, which costs a hot reply more than all else that is done for it.
    """
    if cycle.response_started or cycle.flow.write_paused:
        return False
    if cycle.disconnected:
        return True
    cycle.response_started = True
    parts = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        parts += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        parts.append(b"connection: close\r\n")
    parts += (head, b"\r\n", body)
    cycle.transport.write(b"".join(parts))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


class IdleConnections:
    """Connections that wait for a request, the longest waiting first."""

    def __init__(self) -> None:
        self._order: dict[LimitedHttpProtocol, None] = {}

    def join(self, protocol: LimitedHttpProtocol) -> None:
        """It waits from now on."""
        self._order[protocol] = None

    def leave(self, protocol: LimitedHttpProtocol) -> None:
        """It sends a request, or it is gone."""
        self._order.pop(protocol, None)

    def oldest(self) -> LimitedHttpProtocol | None:
        """The one that has waited longest."""
        return next(iter(self._order), None)


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. Use `guarded` to get a class with bounds."""

    bounds: SocketBounds
    waiting: IdleConnections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A new socket; where there are too many, the one that has waited longest gives way."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._too_large = False
        self._refused = False
        self._impatience = self.loop.call_later(self.bounds.header_seconds, self._give_up)
        raw = transport.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT") and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        if len(self.connections) > self.bounds.max_connections:
            oldest = self.waiting.oldest()
            if oldest is not None:
                oldest._give_up()
        self.waiting.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._impatience.cancel()
        self.waiting.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; while headers are under way count them, and give them only so long."""
        if self._refused:
            self._head_bytes += len(data)
            if self._head_bytes > LINGER_BYTES:
                self._give_up()
            return
        was_in_head = self._in_head
        if was_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and not self._refused and not self.transport.is_closing():
            if self._head_bytes > self.bounds.max_header_bytes:
                self._refuse_headers()
            elif not was_in_head:
                self._impatience.cancel()
                self._impatience = self.loop.call_later(self.bounds.header_seconds, self._give_up)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._line_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """The request line counts as well."""
        self._line_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; what is too large is not kept."""
        self._line_bytes += len(name) + len(value) + 4
        if self._line_bytes > self.bounds.max_header_bytes:
            self._too_large = True
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request goes on to the application, or is refused."""
        if self._refused:
            return
        self._in_head = False
        self._head_bytes = 0
        self._impatience.cancel()
        self.waiting.leave(self)
        if self._too_large or self._line_bytes > self.bounds.max_header_bytes:
            self._refuse_headers()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a refused request are passed by."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """As above."""
        if self.cycle is not None:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Offer the application a short way for replies that are ready bytes (an ASGI extension)."""
        extensions: dict[str, Any] = {READY: partial(write_ready, cycle)}
        cycle.scope["extensions"] = extensions
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """The connection waits again."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self.waiting.join(self)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse_headers(self) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._impatience.cancel()
        self._impatience = self.loop.call_later(LINGER_SECONDS, self._give_up)
        body = b'{"type":"/problems/headers-too-large","title":"Headers too large","status":431}'
        head = [
            STATUS_LINE[431],
            b"content-type: application/problem+json\r\nx-content-type-options: nosniff\r\n",
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body),
            body,
        ]
        self.transport.write(b"".join(head))
        self.transport.write_eof()


def limited_protocol(bounds: SocketBounds) -> type[asyncio.Protocol]:
    """A protocol class with these bounds, and a queue of waiting connections of its own."""
    fields: dict[str, Any] = {"bounds": bounds, "waiting": IdleConnections()}
    return type("BoundedProtocol", (LimitedHttpProtocol,), fields)
