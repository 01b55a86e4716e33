"""The layer that every request passes: hot replies leave from here, the rest go on to the application."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from opentelemetry.trace import SpanKind

from coincast_chassis import context
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.observability.tracing import TRACEPARENT, current_trace_id, current_tracing
from coincast_gateway import metrics
from coincast_gateway.asgi_types import (
    FIRST_BYTE_AT,
    OWN_HEADERS,
    SENT,
    App,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    header,
)
from coincast_gateway.auth.authenticator import Authenticator, AuthResult
from coincast_gateway.cache.response_cache import ResponseCache
from coincast_gateway.edge.rejections import send_refusal
from coincast_gateway.edge.request_metrics import RequestMetrics
from coincast_gateway.errors.problems import EXHAUSTED, OVERLOADED, URI_TOO_LONG, Problem, internal

log = get_logger("coincast.gateway")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the front takes in at once."""

    max_in_flight: int
    max_url_bytes: int


class EdgeMiddleware:
    """Pure ASGI; one per process."""

    def __init__(
        self, app: App, *, hot: ResponseCache, watch: RequestMetrics, gate: Authenticator, bounds: Bounds
    ) -> None:
        self._app = app
        self._hot = hot
        self._watch = watch
        self._gate = gate
        self._bounds = bounds
        self._tracing = current_tracing()
        self._draining = False
        self._in_flight = 0
        metrics.IN_FLIGHT.set_function(lambda: self._in_flight)
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
        admission = self._gate.try_local(scope) or await self._gate.authenticate(scope)
        request_id = self._request_id(scope)
        own: Headers = [(b"x-request-id", request_id.encode()), *admission.headers]
        if self._draining:
            own.append((b"connection", b"close"))
            # The short way knows no `Connection: close`.
            scope["extensions"] = {}
        scope[OWN_HEADERS] = own
        if scope["method"] == "GET" and not admission.wait_seconds:
            raw = (scope["path"], scope["query_string"], header(scope, b"accept"))
            entry = self._hot.raw(raw, time.monotonic())
            if entry is not None and (entry.public or "read" in admission.scopes):
                status = await entry.send(scope, with_own_headers(scope, send), now=time.monotonic())
                self._watch.record_cached(scope, status, time.perf_counter() - started)
                return
        with self._bound(scope, request_id):
            await self._pass_on(scope, receive, with_own_headers(scope, send), admission)
            answered = scope.get(FIRST_BYTE_AT) or time.perf_counter()
            self._watch.record_app(scope, scope.get(SENT, 0), answered - started)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, admission: AuthResult) -> None:
        refusal = self._refusal(scope, admission)
        if refusal is not None:
            metrics.REFUSED.labels(refusal.kind.name).inc()
            await send_refusal(refusal, scope, send)
            return
        scope["coincast.admission"] = admission
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        except Exception:
            log.exception("a request failed")
            if SENT in scope:
                raise
            await send_refusal(internal(), scope, send)
        finally:
            self._in_flight -= 1

    def _refusal(self, scope: Scope, admission: AuthResult) -> Problem | None:
        if admission.wait_seconds:
            detail = "The limit of requests a minute is used up."
            return Problem(EXHAUSTED, detail, retry_after_seconds=admission.wait_seconds)
        length = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if length > self._bounds.max_url_bytes:
            most = f"at most {self._bounds.max_url_bytes} bytes"
            return Problem(URI_TOO_LONG, f"Path and query are {length} bytes long.", allowed=most)
        # Probes must be answered when nothing else is, or an overload is taken for a death.
        if self._in_flight >= self._bounds.max_in_flight and not scope["path"].startswith("/health"):
            detail = f"{self._in_flight} requests are being answered already."
            return Problem(OVERLOADED, detail, retry_after_seconds=1.0)
        return None

    @contextmanager
    def _traced(self, scope: Scope, request_id: str) -> Iterator[None]:
        name, given = f"{scope['method']} {scope['path']}", header(scope, b"traceparent").decode("latin-1")
        with self._tracing.span(name, kind=SpanKind.SERVER, traceparent=given or None):
            trace_id = current_trace_id({TRACEPARENT: given})
            with context.bind(request_id=request_id, trace_id=trace_id):
                yield

    def _bound(self, scope: Scope, request_id: str) -> AbstractContextManager[None]:
        if self._tracing.active:
            return self._traced(scope, request_id)
        return context.bind(request_id=request_id, trace_id=_trace_id(scope))

    def _request_id(self, scope: Scope) -> str:
        given = header(scope, b"x-request-id")
        if given:
            safe = context.safe_id(given.decode("latin-1"))
            if safe:
                return safe
        return f"{self._prefix}{next(self._count):08x}"


def with_own_headers(scope: Scope, send: Send) -> Send:
    """Adds what every reply to this request gets, and notes its status in the scope."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            scope[SENT] = message["status"]
            message["headers"] = [*message["headers"], *scope[OWN_HEADERS]]
        await send(message)

    return sending


def _trace_id(scope: Scope) -> str:
    given = context.parse_traceparent(header(scope, b"traceparent").decode("latin-1"))
    return given or context.new_trace_id()
