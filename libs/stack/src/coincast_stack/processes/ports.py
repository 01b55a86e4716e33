"""Find free ports on 127.0.0.1, or check that a given port is free."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress

from coincast_stack.errors import SetupError

# This range is below the ephemeral ports of Linux (from 32768) and macOS (from 49152): an outgoing connection
# could take one of those before the server binds it.
CANDIDATES = range(20_000, 32_000)


def free_ports(count: int, candidates: range = CANDIDATES) -> list[int]:
    """Return `count` different ports that are free now.

    Args:
        count: The number of ports.
        candidates: The ports to choose from.

    Raises:
        SetupError: There are not enough free ports.
    """
    with ExitStack() as held:
        found: list[int] = []
        for port in random.sample(candidates, len(candidates)):
            if len(found) == count:
                break
            sock = held.enter_context(socket.socket())
            with suppress(OSError):
                sock.bind(("127.0.0.1", port))
                found.append(port)
        if len(found) < count:
            between = f"between {candidates.start} and {candidates.stop - 1}"
            raise SetupError(f"no {count} free ports {between} on 127.0.0.1")
        return found


def free_port() -> int:
    """Return one port that is free now."""
    return free_ports(1)[0]


def ensure_free(port: int, host: str = "127.0.0.1") -> None:
    """Raise SetupError if the port is in use or not allowed."""
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
