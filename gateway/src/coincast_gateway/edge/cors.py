"""CORS for the origins that the settings name."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware

from coincast_gateway.asgi_types import ReadyApp, Receive, Scope, Send, header
from coincast_gateway.coingecko_compat.routes import PREFIX

REQUEST_HEADERS = ("authorization", "content-type", "idempotency-key", "x-api-key", "x-request-id")
EXPOSED_HEADERS = ("age", "etag", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id")


class CorsMiddleware:
    """ASGI middleware that applies CORS to requests with an Origin header.

    It disables the server's direct writes for them, since those would skip the CORS headers.
    """

    def __init__(self, app: ReadyApp, origins: list[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=REQUEST_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            max_age=3600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Apply CORS to a request with an Origin header, except below /api/v3, which has its own CORS."""
        if scope["type"] == "http" and needs_cors(scope):
            scope["extensions"] = {}
            await self._cors(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def answer_ready(self, scope: Scope) -> bool:
        """Answer a request by a direct write, unless its response needs CORS headers."""
        return not needs_cors(scope) and self._app.answer_ready(scope)


def needs_cors(scope: Scope) -> bool:
    """Return whether a request has an Origin header and is not below /api/v3."""
    return bool(header(scope, b"origin")) and not scope["path"].startswith(PREFIX)


def with_cors(app: ReadyApp, origins: str) -> ReadyApp:
    """Return the application with CORS, or unchanged without origins.

    Args:
        app: The application.
        origins: The allowed origins, separated by commas; `*` allows all.
    """
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    return CorsMiddleware(app, allowed) if allowed else app
