"""A proxy that removes the sandbox's own headers, so that services treat the sandbox like CoinGecko."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SANDBOX_PREFIX = "x-coincast-"
# Headers that apply to a single connection and must not be forwarded.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"})
ANSWER_SECONDS = 30.0
WINDOW_SECONDS = 60.0
STOP_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached the upstream.

    Attributes:
        at: Time of arrival on the monotonic clock, in seconds.
        path: Path without the query.
        status: Status of the reply; 0 if the sandbox did not answer.
    """

    at: float
    path: str
    status: int


def busiest_minute(moments: list[float]) -> int:
    """Return the largest number of calls in any window of 60 seconds."""
    ordered, first, most = sorted(moments), 0, 0
    for index, moment in enumerate(ordered):
        while ordered[first] <= moment - WINDOW_SECONDS:
            first += 1
        most = max(most, index - first + 1)
    return most


class FilteringProxy(ThreadingHTTPServer):
    """Forwards GET requests to 127.0.0.1:<port> and records each call; other methods get 501."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, sandbox_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sandbox_port = sandbox_port
        self.calls: list[Call] = []

    @property
    def base_url(self) -> str:
        """Return the base URL for a CoinGecko client; it ends with /api/v3."""
        return f"http://127.0.0.1:{self.server_address[1]}/api/v3"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FilteringProxy

    def do_GET(self) -> None:
        """Forward a request; return its reply without the sandbox's headers and with an unchanged body."""
        came_at = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.sandbox_port, timeout=ANSWER_SECONDS)
        status = 0
        try:
            connection.putrequest("GET", self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders()
            reply = connection.getresponse()
            body, status = reply.read(), reply.status
            self._send(reply, body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            connection.close()
            self.server.calls.append(Call(came_at, self.path.partition("?")[0], status))

    def _send(self, reply: http.client.HTTPResponse, body: bytes) -> None:
        self.send_response_only(reply.status, reply.reason)
        for name, value in reply.getheaders():
            if name.lower() not in HOP_BY_HOP and not name.lower().startswith(SANDBOX_PREFIX):
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, since `calls` records every call."""


@contextmanager
def filtering_proxy(sandbox_port: int) -> Iterator[FilteringProxy]:
    """Run a proxy to the sandbox on a free port until the block ends."""
    with FilteringProxy(sandbox_port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(STOP_POLL_SECONDS,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join(timeout=5)
