"""The Model Context Protocol server at `/mcp`: streamable HTTP for assistants.

The tools call the gateway's own API in process, on behalf of the caller of `/mcp`, with the scopes of its
key. A tool call counts against the rate limit once, as the request to `/mcp` that carries it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx2
from fastapi import Request

from coincast_gateway.asgi_types import App, Receive, Scope, Send
from coincast_gateway.auth.authenticator import AUTH, requires
from coincast_gateway.errors.handlers import ProblemResponse, problem_of

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

PATH = "/mcp"
BASE_URL = "http://gateway.internal"
MAX_BODY_BYTES = 64 * 1024
CALL_SECONDS = 20.0


class McpApp:
    """ASGI application of the MCP server.

    The server is built at the first request, since importing its libraries takes a second.

    Args:
        api: The gateway's application behind the edge, which the tools call.
        version: The version that is reported to clients.
    """

    def __init__(self, api: App, version: str) -> None:
        self._api = api
        self._version = version
        self._app: App | None = None
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a caller without the scope `read` gets a problem."""
        try:
            await requires("read")(Request(scope, receive))
        except Exception as error:
            await ProblemResponse(problem_of(error))(scope, receive, send)
            return
        app = self._app or await self._start()
        await app(dict(scope) | {"path": PATH, "root_path": ""}, receive, send)

    async def aclose(self) -> None:
        """End the sessions and wait until they have ended."""
        self._stop.set()
        if self._running is not None:
            with suppress(asyncio.CancelledError):
                await self._running

    async def _start(self) -> App:
        async with self._starting:
            if self._app is None:
                server, app = await asyncio.to_thread(self._build)
                ready = asyncio.Event()
                self._running = asyncio.create_task(self._run(server.session_manager, ready))
                await ready.wait()
                self._app = app
            return self._app

    async def _run(self, manager: Any, ready: asyncio.Event) -> None:
        # The session manager owns a task group, which must be entered and exited in the same task.
        async with manager.run():
            ready.set()
            await self._stop.wait()

    def _build(self) -> tuple[Any, App]:
        # Both take a second to import together, which only a user of /mcp pays.
        from mcp.server.transport_security import TransportSecuritySettings  # noqa: PLC0415

        from coincast_client.mcp_server import build_server  # noqa: PLC0415

        server = build_server(self._client_of, self._version)
        app = server.streamable_http_app(
            streamable_http_path=PATH,
            json_response=True,
            stateless_http=True,
            max_request_body_size=MAX_BODY_BYTES,
            # The library's check is off, since the edge checks Host and Origin for every path.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        return server, app

    @asynccontextmanager
    async def _client_of(self, context: Context) -> AsyncIterator[Any]:
        """Yield an API client that is authenticated as the caller of the tool."""
        from coincast_client.client import AsyncCoincast  # noqa: PLC0415 - imported with the MCP server

        request = context.request_context.request
        authenticated = request.scope.get(AUTH) if request is not None else None
        transport = httpx2.ASGITransport(app=_authenticate_as(self._api, authenticated))
        async with AsyncCoincast(BASE_URL, transport=transport, timeout_seconds=CALL_SECONDS) as client:
            yield client


def _authenticate_as(app: App, authenticated: Any) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return the application with each request authenticated as a known caller.

    Args:
        app: The application to call.
        authenticated: The `AuthResult` of the caller; None leaves the requests as they are.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if authenticated is not None:
            scope[AUTH] = authenticated
        await app(scope, receive, send)

    return call
