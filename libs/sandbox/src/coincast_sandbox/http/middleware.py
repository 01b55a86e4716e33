"""The one pure ASGI layer before the API: stamps, counts, limits, spoils."""

from email.utils import formatdate

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from coincast_sandbox.api import PREFIX
from coincast_sandbox.clock import SandboxClock
from coincast_sandbox.faults import responses
from coincast_sandbox.faults.corruption import CONTENT_KINDS, mangle
from coincast_sandbox.faults.registry import Fault, FaultRegistry
from coincast_sandbox.http.access import CallCounts, MinuteLimit
from coincast_sandbox.http.buffered_response import Reply
from coincast_sandbox.http.errors import RefusalError, error_body

MOST_URL_BYTES = 8000


class SandboxMiddleware:
    """Every request passes here; those for the admin paths are stamped alone."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: SandboxClock,
        limit: MinuteLimit,
        counts: CallCounts,
        faults: FaultRegistry,
    ) -> None:
        self._app = app
        self._clock = clock
        self._limit = limit
        self._counts = counts
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An HTTP request, or the start and stop of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["path"].startswith(PREFIX):
            reply = await self._true_reply(scope, receive)
            await self._stamped(reply).send(send)
            return
        path = scope["path"][len(PREFIX) :].rstrip("/") or "/"
        self._counts.arrived(path)
        await self._answer(scope, receive, send, self._faults.strike(path))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, faults: list[Fault]) -> None:
        await responses.wait_out(faults)
        if any(fault.kind == "hang" for fault in faults):
            await responses.hang(receive)
            return
        reply = self._refused(scope) or await self._true_reply(scope, receive)
        for fault in faults:
            reply = responses.replaced(fault, self._clock.now()) or reply
            if fault.kind in CONTENT_KINDS:
                reply.body = mangle(reply.body, fault)
        reply.pack(Headers(scope=scope).get("accept-encoding", ""))
        self._counts.answered(reply.status)
        await self._send(self._stamped(reply), faults, scope, send)

    async def _send(self, reply: Reply, faults: list[Fault], scope: Scope, send: Send) -> None:
        for fault in faults:
            if fault.kind == "reset":
                await responses.reset(reply, fault, scope, send)
                return
            if fault.kind == "drip":
                await responses.drip(reply, fault, send)
                return
        await reply.send(send)

    def _refused(self, scope: Scope) -> Reply | None:
        """Refusals that come before the request is read: too long an address, too many calls."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_URL_BYTES:
            body, media = error_body(6, 414, "Request-URI Too Large", self._clock.now())
            return Reply(414, [(b"content-type", media.encode())], body)
        try:
            self._limit.take()
        except RefusalError as refusal:
            body, media = error_body(refusal.form, refusal.code, refusal.message, self._clock.now())
            wait = str(self._limit.retry_after_seconds()).encode()
            return Reply(refusal.status, [(b"content-type", media.encode()), (b"retry-after", wait)], body)
        return None

    async def _true_reply(self, scope: Scope, receive: Receive) -> Reply:
        reply = Reply()
        await self._app(scope, receive, reply.take)
        return reply

    def _stamped(self, reply: Reply) -> Reply:
        now = self._clock.now()
        reply.headers += [
            (b"x-coincast-sandbox", b"1"),
            (b"x-coincast-sandbox-now", f"{now:.3f}".encode()),
            (b"date", formatdate(now, usegmt=True).encode()),
        ]
        return reply
