"""Ports on 127.0.0.1: free ones, and the check that a wanted one is free."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from coincast_stack.errors import SetupError


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


def ensure_free(port: int, host: str = "127.0.0.1") -> None:
    """Raise SetupError if the port is taken or may not be used."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            raise SetupError(
                f"port {port} cannot be used ({error.strerror}); set PORT= to a free one"
            ) from error
        except OverflowError as error:
            raise SetupError(f"port {port} is not a port; set PORT= to 1..65535") from error
