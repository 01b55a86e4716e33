"""The layer that every request passes: hot replies leave from here, the rest go on to the application."""

import itertools
import secrets
import time

from coincast_chassis import context
from coincast_chassis.logs import get_logger
from coincast_gateway.front.watch import Watch
from coincast_gateway.problems import internal
from coincast_gateway.serving.asgi import App, Headers, Message, Receive, Scope, Send, header
from coincast_gateway.serving.dispatch import send_problem
from coincast_gateway.serving.hot import HotCache

log = get_logger("coincast.gateway")


class Front:
    """Pure ASGI; one per process."""

    def __init__(self, app: App, *, hot: HotCache, watch: Watch) -> None:
        self._app = app
        self._hot = hot
        self._watch = watch
        self._draining = False
        # A random start for the process and a count within it: cheaper than a random number each.
        self._prefix = secrets.token_hex(5)
        self._count = itertools.count()

    def drain(self) -> None:
        """From now on every reply tells its client to connect anew."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = self._request_id(scope)
        extra: Headers = [(b"x-request-id", request_id.encode())]
        if self._draining:
            extra.append((b"connection", b"close"))
        entry = None
        if scope["method"] == "GET":
            raw = (scope["path"], scope["query_string"], header(scope, b"accept"))
            entry = self._hot.raw(raw, time.monotonic())
        if entry is not None:
            status = await entry.send(scope, send, now=time.monotonic(), extra=extra)
            self._watch.hot(scope["path"], status, time.perf_counter() - started)
            return
        with context.bind(request_id=request_id, trace_id=_trace_id(scope)):
            status = await self._pass_on(scope, receive, send, extra)
        self._watch.passed(scope, status, time.perf_counter() - started)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> int:
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            log.exception("a request failed")
            if status:
                raise
            await send_problem(internal(), scope, sending)
        return status

    def _request_id(self, scope: Scope) -> str:
        given = header(scope, b"x-request-id")
        if given:
            safe = context.safe_id(given.decode("latin-1"))
            if safe:
                return safe
        return f"{self._prefix}{next(self._count):08x}"


def _trace_id(scope: Scope) -> str:
    given = context.parse_traceparent(header(scope, b"traceparent").decode("latin-1"))
    return given or context.new_trace_id()
