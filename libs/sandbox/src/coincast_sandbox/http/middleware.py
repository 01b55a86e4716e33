"""The ASGI middleware in front of the API: headers, counters, limits and faults."""

from __future__ import annotations

from email.utils import formatdate

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from coincast_sandbox.api import PREFIX
from coincast_sandbox.clock import SandboxClock
from coincast_sandbox.faults import responses
from coincast_sandbox.faults.corruption import CONTENT_KINDS, corrupt
from coincast_sandbox.faults.registry import Fault, FaultRegistry
from coincast_sandbox.http.buffered_response import BufferedResponse
from coincast_sandbox.http.errors import ApiError, error_body
from coincast_sandbox.http.rate_limit import CallCounts, RateLimiter

MAX_URL_BYTES = 8000
# CoinGecko sends these with every reply, so that pages of any origin can fetch its data.
CORS_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, PUT, DELETE, GET, OPTIONS"),
    (b"access-control-allow-headers", b"Origin, X-Requested-With, Content-Type, Accept, Authorization"),
    (b"access-control-expose-headers", b"link, per-page, total"),
]


class SandboxMiddleware:
    """Apply limits, counters and faults to the API's paths, and headers to all paths."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: SandboxClock,
        limiter: RateLimiter,
        counts: CallCounts,
        faults: FaultRegistry,
    ) -> None:
        self._app = app
        self._clock = clock
        self._limiter = limiter
        self._counts = counts
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request; pass other scopes to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["path"].startswith(PREFIX):
            response = await self._call_app(scope, receive)
            await self._add_headers(response).send(send)
            return
        if scope["method"] == "OPTIONS":
            await self._add_headers(BufferedResponse(200, [])).send(send)
            return
        path = scope["path"][len(PREFIX) :].rstrip("/") or "/"
        self._counts.record_request(path)
        await self._respond(scope, receive, send, self._faults.draw(path))

    async def _respond(self, scope: Scope, receive: Receive, send: Send, faults: list[Fault]) -> None:
        await responses.apply_latency(faults)
        if any(fault.kind == "hang" for fault in faults):
            await responses.hang(receive)
            return
        response = self._rejection(scope) or await self._call_app(scope, receive)
        for fault in faults:
            response = responses.replacement(fault, self._clock.now()) or response
            if fault.kind in CONTENT_KINDS:
                response.body = corrupt(response.body, fault)
        response.compress(Headers(scope=scope).get("accept-encoding", ""))
        self._counts.record_status(response.status)
        await self._send(self._add_headers(response), faults, scope, send)

    async def _send(self, response: BufferedResponse, faults: list[Fault], scope: Scope, send: Send) -> None:
        for fault in faults:
            if fault.kind == "reset":
                await responses.reset(response, fault, scope, send)
                return
            if fault.kind == "drip":
                await responses.drip(response, fault, send)
                return
        await response.send(send)

    def _rejection(self, scope: Scope) -> BufferedResponse | None:
        """Return the error response for a URL that is too long or a call beyond the limits; else None."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            body, media = error_body(6, 414, "Request-URI Too Large", self._clock.now())
            return BufferedResponse(414, [(b"content-type", media.encode())], body)
        try:
            self._limiter.acquire()
        except ApiError as error:
            body, media = error_body(error.form, error.code, error.message, self._clock.now())
            wait = str(self._limiter.retry_after_seconds()).encode()
            headers = [(b"content-type", media.encode()), (b"retry-after", wait)]
            return BufferedResponse(error.status, headers, body)
        return None

    async def _call_app(self, scope: Scope, receive: Receive) -> BufferedResponse:
        response = BufferedResponse()
        await self._app(scope, receive, response.receive)
        return response

    def _add_headers(self, response: BufferedResponse) -> BufferedResponse:
        now = self._clock.now()
        response.headers += [
            *CORS_HEADERS,
            (b"x-coincast-sandbox", b"1"),
            (b"x-coincast-sandbox-now", f"{now:.3f}".encode()),
            (b"date", formatdate(now, usegmt=True).encode()),
        ]
        return response
