"""uvicorn's HTTP protocol with limits that it lacks: on headers, unread bodies and idle connections."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from coincast_chassis.observability.logs import get_logger
from coincast_gateway.asgi_types import READY, ReadyApp, with_host_of_target

log = get_logger("coincast.gateway")
# The kernel closes a connection whose peer acknowledges nothing for this long.
UNREAD_SECONDS = 30
# After a refusal, data that the client still sends is read and dropped up to these limits. If the connection
# were closed at once, the client would see a reset and not the response.
LINGER_SECONDS = 2.0
LINGER_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SocketBounds:
    """Limits of one connection, and of all connections together."""

    max_header_bytes: int
    header_seconds: float
    max_connections: int


def write_ready(cycle: RequestResponseCycle, status: int, head: bytes, body: bytes) -> bool:
    """Send a whole response in one write.

    uvicorn validates every header of every response, which takes longer than everything else about a cached
    one.

    Args:
        cycle: uvicorn's state of the request and its response.
        status: The HTTP status.
        head: Validated header lines, each with its line end.
        body: The body.

    Returns:
        Whether the response was sent. If not, nothing was sent and the usual ASGI messages must follow.
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
    # The extension and the cycle refer to each other. Without it, the request is freed by reference counting.
    del cycle.scope["extensions"]
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


class IdleConnections:
    """Connections that wait for a request, the longest waiting first."""

    def __init__(self) -> None:
        self._order: dict[LimitedHttpProtocol, None] = {}

    def join(self, protocol: LimitedHttpProtocol) -> None:
        """Add a connection that waits from now on."""
        self._order[protocol] = None

    def leave(self, protocol: LimitedHttpProtocol) -> None:
        """Remove a connection that sends a request, or is closed."""
        self._order.pop(protocol, None)

    def oldest(self) -> LimitedHttpProtocol | None:
        """Return the connection that has waited longest."""
        return next(iter(self._order), None)


class LimitedHttpProtocol(HttpToolsProtocol):
    """The protocol of one connection. Use `limited_protocol` to get a class with bounds."""

    bounds: SocketBounds
    waiting: IdleConnections
    ready_app: ReadyApp | None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept a connection; where there are too many, close the one that has waited longest."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._message_done = True
        self._parsing = False
        self._answered_at_once = False
        self._body_follows = False
        self._replaying = False
        self._unread: asyncio.TimerHandle | None = None
        self._too_large = False
        self._refused = False
        # Closes the connection if the headers are not complete in time.
        self._head_timer = self.loop.call_later(self.bounds.header_seconds, self._give_up)
        raw = transport.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT") and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        if len(self.connections) > self.bounds.max_connections:
            oldest = self.waiting.oldest()
            if oldest is not None:
                oldest._give_up()
        self.waiting.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection is closed."""
        self._head_timer.cancel()
        self._stop_waiting_for_body()
        self.waiting.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, with limits on the size of headers and the time until they are complete."""
        if self._refused:
            self._head_bytes += len(data)
            if self._head_bytes > LINGER_BYTES:
                self._give_up()
            return
        was_in_head = self._in_head
        if was_in_head:
            self._head_bytes += len(data)
        self._parse(data)
        if self.transport.is_closing():
            return
        if not self._in_head and self._has_answered():
            # uvicorn stops the keep-alive timer at any data, so a slow body would hold the connection.
            self._limit_idle_time()
        if self._in_head and not self._refused and not self.transport.is_closing():
            if self._head_bytes > self.bounds.max_header_bytes:
                self._refuse_headers()
            elif not was_in_head:
                self._head_timer.cancel()
                self._head_timer = self.loop.call_later(self.bounds.header_seconds, self._give_up)

    def _parse(self, data: bytes) -> None:
        """Parse as uvicorn does, but continue after a request with an Upgrade header.

        The parser stops after such a request, since another protocol follows if the server switches. The
        gateway ignores the header, as RFC 9110, 7.8, allows; then the next HTTP request follows.
        """
        self._unset_keepalive_if_required()
        self._parsing = True
        self._answered_at_once = False
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    data = b""
                except httptools.HttpParserUpgrade as upgrade:
                    data = data[upgrade.args[0] :]
                    self._renew_parser()
                    if self._body_follows:
                        self._expect_body()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        finally:
            self._parsing = False

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _expect_body(self) -> None:
        """Prepare a new parser for the body of a request with an Upgrade header.

        The old parser stopped before the body. The new one first gets a head with the same framing headers,
        whose events are ignored.
        """
        framing = [pair for pair in self.headers if pair[0] in (b"content-length", b"transfer-encoding")]
        self._body_follows, self._replaying = False, True
        head = b"".join([b"%b: %b\r\n" % pair for pair in framing])
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % head)
        self._replaying = False

    def _has_answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _limit_idle_time(self) -> None:
        """Start the timer of an idle connection, or of the unread rest of an answered request's body."""
        if self._message_done:
            self._stop_waiting_for_body()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
        elif self._unread is None:
            self._unread = self.loop.call_later(self.bounds.header_seconds, self._give_up)

    def _stop_waiting_for_body(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def on_message_begin(self) -> None:
        """Reset the counters for a new request."""
        if self._replaying:
            return
        self._in_head = True
        self._message_done = False
        self._line_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the request line."""
        if self._replaying:
            return
        self._line_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the bytes of a header; headers beyond the limit are not stored."""
        if self._replaying:
            return
        self._line_bytes += len(name) + len(value) + 4
        if self._line_bytes > self.bounds.max_header_bytes:
            self._too_large = True
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request on to the application, or refuse it."""
        if self._refused or self._replaying:
            return
        self._body_follows = self.parser.should_upgrade() and any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )
        self._in_head = False
        self._head_bytes = 0
        self._head_timer.cancel()
        self.waiting.leave(self)
        if self._too_large or self._line_bytes > self.bounds.max_header_bytes:
            self._refuse_headers()
            return
        if not self.url.startswith((b"/", b"*")):
            self._take_host_of_target()
        super().on_headers_complete()

    def _take_host_of_target(self) -> None:
        """Let the authority of a target in absolute form be the host; the scope holds only its path."""
        _, separator, rest = self.url.partition(b"://")
        if separator:
            authority = rest.partition(b"/")[0].partition(b"?")[0].partition(b"#")[0]
            self.headers[:] = with_host_of_target(self.headers, authority)

    def on_body(self, body: bytes) -> None:
        """Ignore the body of a refused request."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Mark the request as completely received."""
        if self._body_follows:
            return
        self._message_done = True
        if self.cycle is not None:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Call the application synchronously if it can answer so, otherwise in a task.

        Direct writes are offered as an ASGI extension. Of several requests that arrive in one packet, only
        one is answered synchronously; the others get tasks, so that they do not delay other connections.
        """
        scope: Any = cycle.scope
        scope["extensions"] = {READY: partial(write_ready, cycle)}
        if self.ready_app is not None and self._parsing and not self._answered_at_once and app is self.app:
            try:
                self._answered_at_once = self.ready_app.answer_ready(scope)
            except Exception:
                # Raised here, the error would count as a parsing error. The task answers the request instead.
                log.exception("ready_answer_failed")
                self._answered_at_once = cycle.response_complete
            if self._answered_at_once:
                return
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Add the connection to the idle ones."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self.waiting.join(self)
            if not self._message_done and not self._parsing:
                self._unset_keepalive_if_required()
                self._limit_idle_time()

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse_headers(self) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._head_timer.cancel()
        self._head_timer = self.loop.call_later(LINGER_SECONDS, self._give_up)
        body = b'{"type":"/problems/headers-too-large","title":"Headers too large","status":431}'
        head = [
            STATUS_LINE[431],
            b"content-type: application/problem+json\r\nx-content-type-options: nosniff\r\n",
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body),
            body,
        ]
        self.transport.write(b"".join(head))
        self.transport.write_eof()


def limited_protocol(bounds: SocketBounds, ready_app: ReadyApp | None = None) -> type[asyncio.Protocol]:
    """Return a protocol class with its own queue of idle connections.

    Args:
        bounds: The limits of its connections.
        ready_app: The application, if it can answer requests synchronously; otherwise None.
    """
    fields: dict[str, Any] = {"bounds": bounds, "waiting": IdleConnections(), "ready_app": ready_app}
    return type("BoundedProtocol", (LimitedHttpProtocol,), fields)
