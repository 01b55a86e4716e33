"""The ASGI types that the gateway's own layers speak."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
# The ASGI extension of the gateway's server: (status, header lines, body) -> whether it was sent.
READY = "coincast.ready"
# In the scope: headers that every reply to this request gets, and the status of one that left the short way.
OWN_HEADERS = "coincast.own_headers"
SENT = "coincast.sent"

# Set in the scope of a reply that goes on: when (time.perf_counter) its first byte left.
FIRST_BYTE_AT = "coincast.first_byte_at"


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of a name (lower case); empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""
