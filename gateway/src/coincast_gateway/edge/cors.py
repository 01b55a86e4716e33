"""CORS for the origins that the settings name."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware

from coincast_gateway.asgi_types import ReadyApp, Receive, Scope, Send, header
from coincast_gateway.coingecko_compat.routes import PREFIX

REQUEST_HEADERS = ("authorization", "content-type", "idempotency-key", "x-api-key", "x-request-id")
EXPOSED_HEADERS = ("age", "etag", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id")


class CorsMiddleware:
    """Pure ASGI: CORS for requests with an Origin header, without direct writes of replies.

    A direct write would skip the code that adds headers to a reply.
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
        """Apply CORS to a request with an Origin header; CoinGecko's paths have CORS of their own."""
        if scope["type"] == "http" and needs_cors(scope):
            scope["extensions"] = {}
            await self._cors(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def answer_ready(self, scope: Scope) -> bool:
        """Answer a request at once, unless CORS adds headers to its response."""
        return not needs_cors(scope) and self._app.answer_ready(scope)


def needs_cors(scope: Scope) -> bool:
    """Return whether a request has an Origin header and is not below CoinGecko's paths."""
    return bool(header(scope, b"origin")) and not scope["path"].startswith(PREFIX)


def with_cors(app: ReadyApp, origins: str) -> ReadyApp:
    """Return the application with CORS where there are origins (a list with commas; * for all)."""
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    return CorsMiddleware(app, allowed) if allowed else app
