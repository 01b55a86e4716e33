"""ASGI types of the gateway's layers, and the keys that they store in the scope of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class ReadyApp(Protocol):
    """An ASGI application that can answer some requests synchronously, without a task for each."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

    def answer_ready(self, scope: Scope) -> bool:
        """Answer a request by the server's direct write.

        Returns:
            False if nothing was sent; then the application must be called as usual.
        """


# The ASGI extension for the server's direct write: a function (status, header lines, body) -> whether it
# sent.
READY = "coincast.ready"
# The following are keys of the scope of a request.
# Headers that every response to this request gets.
OWN_HEADERS = "coincast.own_headers"
# The HTTP status that was sent.
SENT = "coincast.sent"
# The cached response that was sent, the bytes of the body that was sent, and the rows of a streamed table.
RESPONSE = "coincast.response"
SENT_BYTES = "coincast.sent_bytes"
SENT_ROWS = "coincast.sent_rows"
# When the first byte of a streamed response was sent, by time.perf_counter.
FIRST_BYTE_AT = "coincast.first_byte_at"
# The first value of each header, by its name.
FIRST_HEADERS = "coincast.first_headers"


def first_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the first value of each header by its name in lower case; collected once for each request."""
    found: dict[bytes, bytes] | None = scope.get(FIRST_HEADERS)
    if found is None:
        # In reverse order, so that the first of several values overwrites the later ones.
        found = scope[FIRST_HEADERS] = dict(scope["headers"][::-1])
    return found


def header(scope: Scope, name: bytes) -> bytes:
    """Return the first value of a header, whose name is in lower case; empty if there is none."""
    return first_headers(scope).get(name, b"")


def with_host_of_target(headers: Headers, authority: bytes) -> Headers:
    """Return the headers with the authority of an absolute target as their one Host (RFC 9112, 3.2.2)."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        return headers
    return [(name, authority if name == b"host" else value) for name, value in headers]
