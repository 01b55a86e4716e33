"""The gateway's listening socket."""

from __future__ import annotations

import socket

import pytest

from coincast_chassis.errors import Unavailable
from coincast_gateway.server import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_reply_in_two_writes_is_not_held_back(host: str) -> None:
    with listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Unavailable, match=f"Port {port} on"):
            listen("127.0.0.1", port)
