"""The uvicorn configuration of the sandbox; its protocol exposes the transport for connection faults."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class TransportProtocol(HttpToolsProtocol):
    """HTTP protocol that puts the transport into the request's state, so that a fault can reset it."""

    def on_message_begin(self) -> None:
        """Expose the transport when a request begins."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


def server_config(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """Return the server's configuration; the application sends its own Date header."""
    return uvicorn.Config(
        app, host=host, port=port, http=TransportProtocol, lifespan="off", log_level="warning",
        access_log=False, server_header=False, date_header=False, timeout_graceful_shutdown=2, backlog=4096,
    )  # fmt: skip
