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
    """An ASGI application that can answer some requests at once, without a task of their own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

    def answer_ready(self, scope: Scope) -> bool:
        """Answer a request by the server's direct write; False where it must be called as usual instead."""


# The ASGI extension of the gateway's server: (status, header lines, body) -> whether it was sent.
READY = "coincast.ready"
# In the scope: headers that every reply to this request gets, and the status of one written directly.
OWN_HEADERS = "coincast.own_headers"
SENT = "coincast.sent"
# In the scope: the cached response that answers, how many bytes of its body were sent, and how many rows of
# a table that is streamed.
RESPONSE = "coincast.response"
SENT_BYTES = "coincast.sent_bytes"
SENT_ROWS = "coincast.sent_rows"

# Set in the scope of a streamed reply: when (time.perf_counter) its first byte was sent.
FIRST_BYTE_AT = "coincast.first_byte_at"


# In the scope: the first value of each header, by its name.
FIRST_HEADERS = "coincast.first_headers"


def first_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the first value of each header by its name (lower case), collected once a request."""
    found: dict[bytes, bytes] | None = scope.get(FIRST_HEADERS)
    if found is None:
        # The first value of a name is the last one that is stored.
        found = scope[FIRST_HEADERS] = dict(scope["headers"][::-1])
    return found


def header(scope: Scope, name: bytes) -> bytes:
    """Return the first header of a name (lower case); empty where there is none."""
    return first_headers(scope).get(name, b"")
