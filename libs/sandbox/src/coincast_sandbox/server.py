"""The uvicorn server that the sandbox runs in; its protocol lets a fault reach the connection itself."""

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class ReachableProtocol(HttpToolsProtocol):
    """Hands each request its transport, so that a reset can be sent."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


def server_config(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """The settings; the application sends its own Date."""
    return uvicorn.Config(
        app, host=host, port=port, http=ReachableProtocol, lifespan="off", log_level="warning",
        access_log=False, server_header=False, date_header=False, timeout_graceful_shutdown=2, backlog=4096,
    )  # fmt: skip
