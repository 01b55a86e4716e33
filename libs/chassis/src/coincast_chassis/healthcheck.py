"""Check a container's health: `python -m coincast_chassis.healthcheck serving PORT | http PORT PATH`.

The exit code is 0 for healthy, 1 otherwise.

It runs every few seconds beside each service, so it imports only sockets: a gRPC client would cost half a
second of CPU each time, and would be the first to time out on a busy machine. `serving` reads the gauge
coincast_serving from the metrics port, which equals the status of the gRPC health service. Orchestrators that
support gRPC health checks should use those instead.
"""

from __future__ import annotations

import socket
import sys


def ask(port: int, path: str, timeout_seconds: float = 5.0) -> bytes:
    """Send a GET to a local HTTP port; return the reply with its headers, empty if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_seconds) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts)
    except OSError:
        return b""


def serves(metrics_port: int) -> bool:
    """Return whether the service with this metrics port reports SERVING."""
    return b"\ncoincast_serving 1.0\n" in ask(metrics_port, "/metrics")


def answers(port: int, path: str) -> bool:
    """Return whether a GET of the path on the local port is answered with 200."""
    return ask(port, path).split(b"\r\n", 1)[0].endswith(b" 200 OK")


def main(arguments: list[str]) -> int:
    """Run the check; return 0 for a healthy target, 1 for an unhealthy one, 2 for wrong arguments."""
    match arguments:
        case ["serving", port] if port.isdigit():
            return 0 if serves(int(port)) else 1
        case ["http", port, path] if port.isdigit():
            return 0 if answers(int(port), path) else 1
    sys.stderr.write("usage: python -m coincast_chassis.healthcheck serving METRICS_PORT | http PORT PATH\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
