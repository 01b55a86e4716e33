"""The edge: request ids, authentication, checks, limits and metrics around every request.

An open gateway on loopback trusts every caller that can reach it. A web page in the user's browser can reach
it too: by a form or script of another site, or by a domain that resolves to 127.0.0.1 (DNS rebinding).
Therefore a request without an API key must have a Host that names this machine, and one that changes
something must not come from another site. `require_json` of auth/authenticator.py also requires the latter
to be JSON.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache

from opentelemetry.trace import SpanKind

from coincast_chassis import context
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.observability.tracing import TRACEPARENT, current_trace_id, current_tracing
from coincast_gateway import metrics as gateway_metrics
from coincast_gateway.asgi_types import (
    FIRST_BYTE_AT,
    OWN_HEADERS,
    RESPONSE,
    SENT,
    SENT_BYTES,
    SENT_ROWS,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    first_headers,
    header,
    with_host_of_target,
)
from coincast_gateway.auth.authenticator import AUTH, Authenticator, AuthResult
from coincast_gateway.auth.usage import UNMETERED_PATH, UsageRecorder
from coincast_gateway.cache.response_cache import CacheMiddleware
from coincast_gateway.coingecko_compat.app import send_compat_error
from coincast_gateway.coingecko_compat.errors import CompatError
from coincast_gateway.coingecko_compat.routes import PREFIX
from coincast_gateway.edge.request_metrics import RequestMetrics
from coincast_gateway.errors.handlers import ProblemResponse
from coincast_gateway.errors.problems import (
    EXHAUSTED,
    FORBIDDEN,
    OVERLOADED,
    REFUSED,
    SLOW_BODY,
    URI_TOO_LONG,
    Problem,
    ProblemException,
    internal,
)
from coincast_gateway.formats.sse import EventStreams
from coincast_gateway.rendering import CachedResponse, encode_header_lines

log = get_logger("coincast.gateway")
INTERNAL_ERROR = 500
NOSNIFF = (b"x-content-type-options", b"nosniff")
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
# Headers of requests that have more than a head: a body, or a switch to another protocol.
BODY_OR_UPGRADE = frozenset({b"content-length", b"transfer-encoding", b"upgrade"})
HTTP_VERSIONS = frozenset({"1.0", "1.1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class RequestChecks:
    """Checks of requests without an API key.

    Args:
        open_loopback: Whether the gateway listens on loopback and needs no keys, so that every caller that
            reaches it may change something.
        allowed_hosts: Names that the Host header may have beside those of loopback.
        allowed_origins: Origins whose pages may call the API; `*` for all.
    """

    open_loopback: bool
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()

    def check(self, scope: Scope, auth: AuthResult) -> Problem | None:
        """Return the problem of a request that must be rejected, or None."""
        if scope["http_version"] not in HTTP_VERSIONS:
            detail = f"HTTP/{scope['http_version'][:10]} is not supported."
            return Problem(REFUSED, detail, field="HTTP version", allowed="HTTP/1.1")
        headers = first_headers(scope)
        host_header = headers.get(b"host")
        missing = host_header is None and scope["http_version"] == "1.1"
        if missing or (len(headers) < len(scope["headers"]) and has_two_hosts(scope)):
            # RFC 9112, 3.2: a server answers 400 to a missing or repeated Host.
            return Problem(REFUSED, "Send exactly one Host header.", field="Host", allowed="one Host header")
        if not self.open_loopback or auth.caller != "anonymous":
            return None
        host = "localhost" if host_header is None else host_name(host_header)
        if not (is_loopback_name(host) or host in self.allowed_hosts):
            detail = f"This gateway answers on this machine, not as {host[:100]!r}."
            allowed = "a loopback name, or a name in GATEWAY_ALLOWED_HOSTS"
            return Problem(FORBIDDEN, detail, field="Host", allowed=allowed)
        return None if scope["method"] in SAFE_METHODS else self._check_change(scope, host_header or b"")

    def _check_change(self, scope: Scope, host: bytes) -> Problem | None:
        """Return the problem of a request of another site that would change something, or None."""
        origin = header(scope, b"origin").decode("latin-1").lower()
        if origin and not self._is_own_origin(origin, host):
            detail = "Pages of other origins may not change anything here without an API key."
            return Problem(FORBIDDEN, detail, field="Origin", allowed="this origin, or GATEWAY_CORS_ORIGINS")
        if header(scope, b"sec-fetch-site") == b"cross-site" and not self.allowed_origins:
            detail = "Pages of other sites may not change anything here without an API key."
            return Problem(FORBIDDEN, detail, field="Sec-Fetch-Site", allowed="same-origin")
        return None

    def _is_own_origin(self, origin: str, host: bytes) -> bool:
        if "*" in self.allowed_origins or origin in self.allowed_origins:
            return True
        return origin.partition("://")[2] == host.decode("latin-1").lower()


def has_two_hosts(scope: Scope) -> bool:
    """Return whether a request has more than one Host header."""
    return len([name for name, _ in scope["headers"] if name == b"host"]) > 1


@lru_cache(maxsize=64)
def host_name(host: bytes) -> str:
    """Return the name in a Host header: in lower case, without its port and the brackets of IPv6."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
    else:
        name, colon, port = text.partition(":")
        name, rest = name.rstrip("."), colon + port
    # A port is digits or empty (RFC 3986, 3.2.3); with anything else the whole is no name of ours.
    return name if rest in ("", ":") or (rest.startswith(":") and rest[1:].isdecimal()) else text


@lru_cache(maxsize=64)
def is_loopback_name(host: str) -> bool:
    """Return whether a host name always means this machine: localhost, or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of the edge."""

    max_in_flight: int
    max_url_bytes: int
    body_seconds: float


class EdgeMiddleware:
    """The outermost ASGI middleware, around the cache and the application; one per process.

    Args:
        app: The cache middleware, which calls the application.
        metrics: Where requests are counted and timed.
        authenticator: Identifies callers and applies rate limits.
        bounds: The limits of the edge.
        checks: The checks of requests without an API key.
        usage: Where the calls of API keys are counted.
        streams: The open event streams. They have a limit of their own, since they stay open for hours and
            cost little, so they do not count as requests in flight.
    """

    def __init__(
        self,
        app: CacheMiddleware,
        *,
        metrics: RequestMetrics,
        authenticator: Authenticator,
        bounds: Bounds,
        checks: RequestChecks,
        usage: UsageRecorder,
        streams: EventStreams,
    ) -> None:
        self._streams = streams
        self._app = app
        self._metrics = metrics
        self._authenticator = authenticator
        self._bounds = bounds
        self._checks = checks
        self._usage = usage
        self._tracing = current_tracing()
        self._draining = False
        self._in_flight = 0
        gateway_metrics.IN_FLIGHT.set_function(lambda: self._in_flight)
        # A request id is a random prefix of the process and a counter, which costs less than a random id.
        self._prefix = secrets.token_hex(5).encode()
        self._count = itertools.count()

    def drain(self) -> None:
        """Send `Connection: close` with every response from now on, so that clients reconnect elsewhere."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        normalise_path(scope)
        auth: AuthResult | None = scope.get(AUTH)
        if auth is None:
            auth = self._authenticator.try_local(scope) or await self._authenticator.authenticate(scope)
        request_id = self._begin(scope, auth)
        method, refused = scope["method"], self._checks.check(scope, auth)
        if method == "GET" and not auth.wait_seconds and refused is None:
            response = self._app.ready(scope, self._app.find_ready(scope))
            if response is not None:
                status = await response.send(scope, with_own_headers(scope, send))
                self._metrics.record_cached(scope, status, time.perf_counter() - started)
                self._record_usage(scope, auth)
                return
        with self._bound(scope, request_id):
            if method == "HEAD":
                receive, send = head_channels(scope, receive, send)
            elif method not in WITHOUT_BODY:
                receive = with_body_deadline(receive, self._bounds.body_seconds)
            rejection = refused or self._rejection(scope, auth)
            await self._pass_on(scope, receive, with_own_headers(scope, send), rejection)
            answered = scope.get(FIRST_BYTE_AT) or time.perf_counter()
            scope["method"] = method
            self._metrics.record_app(scope, scope.get(SENT, 0), answered - started)
            self._record_usage(scope, auth)

    def answer_ready(self, scope: Scope) -> bool:
        """Answer a request from the cache by the server's direct write.

        It saves a task, a context and the ASGI messages of the request.

        Returns:
            Whether the request was answered. If not, nothing was sent, and the server calls the middleware
            as usual. The authentication result is then in the scope, so that the request spends only one
            token of the rate limit.
        """
        started = time.perf_counter()
        found = self._find_ready(scope)
        if found is None:
            return False
        auth, response = found
        own = b"x-request-id: %b\r\nx-content-type-options: nosniff\r\n" % self._request_id(scope)
        if auth.headers:
            own += encode_header_lines(auth.headers)
        status = response.send_ready(scope, own)
        if status:
            self._metrics.record_cached(scope, status, time.perf_counter() - started)
            self._record_usage(scope, auth)
        return bool(status)

    def _find_ready(self, scope: Scope) -> tuple[AuthResult, CachedResponse] | None:
        """Return the caller and the cached response of a request that a direct write can answer, or None."""
        if scope["method"] != "GET" or self._draining:
            return None
        normalise_path(scope)
        found = self._app.find_ready(scope)
        if found is None or not BODY_OR_UPGRADE.isdisjoint(first_headers(scope)):
            return None
        auth = self._authenticator.try_local(scope)
        if auth is None:
            return None
        scope[AUTH] = auth
        if auth.wait_seconds or self._checks.check(scope, auth) is not None:
            return None
        response = self._app.ready(scope, found)
        return None if response is None else (auth, response)

    def _record_usage(self, scope: Scope, auth: AuthResult) -> None:
        """Count an answered call of an API key, unless it reads the usage itself."""
        if auth.caller != "anonymous" and not auth.wait_seconds and scope["path"] != UNMETERED_PATH:
            response: CachedResponse | None = scope.get(RESPONSE)
            rows = scope.get(SENT_ROWS, 0) if response is None else response.rows
            rows = rows if scope.get(SENT) == 200 else 0
            self._usage.record(auth.caller, rows=rows, size=scope.get(SENT_BYTES, 0))

    def _begin(self, scope: Scope, auth: AuthResult) -> str:
        """Store the headers of the response and the caller in the scope, and return the request id."""
        request_id = self._request_id(scope)
        own: Headers = [(b"x-request-id", request_id), NOSNIFF, *auth.headers]
        if self._draining:
            own.append((b"connection", b"close"))
        if self._draining or scope["method"] != "GET":
            # The server's direct write supports neither an added `Connection: close` nor HEAD.
            scope["extensions"] = {}
        scope[OWN_HEADERS], scope[AUTH] = own, auth
        return request_id.decode()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, rejection: Problem | None) -> None:
        if rejection is not None:
            gateway_metrics.REFUSED.labels(rejection.kind.name).inc()
            await send_rejection(rejection, scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        except Exception:
            # Starlette raises an error again after its handler has answered it.
            if scope.get(SENT) == INTERNAL_ERROR:
                return
            log.exception("request_failed")
            if SENT in scope:
                raise
            await send_rejection(internal(), scope, receive, send)
        finally:
            self._in_flight -= 1

    def _rejection(self, scope: Scope, auth: AuthResult) -> Problem | None:
        if auth.wait_seconds:
            detail = auth.wait_reason or "The limit of requests a minute is used up."
            return Problem(EXHAUSTED, detail, retry_after_seconds=auth.wait_seconds)
        length = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if length > self._bounds.max_url_bytes:
            most = f"at most {self._bounds.max_url_bytes} bytes"
            return Problem(URI_TOO_LONG, f"Path and query are {length} bytes long.", allowed=most)
        # Health probes are answered under overload as well, so that an overloaded process is not restarted.
        answering = self._in_flight - self._streams.open_count
        if answering >= self._bounds.max_in_flight and not scope["path"].startswith("/health"):
            detail = f"{answering} requests are being answered already."
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

    def _request_id(self, scope: Scope) -> bytes:
        given = first_headers(scope).get(b"x-request-id")
        if given and context.safe_id(given.decode("latin-1")):
            return given
        return b"%b%08x" % (self._prefix, next(self._count))


def normalise_path(scope: Scope) -> None:
    """Reduce an absolute target to its path, its authority being the host, and remove a trailing slash."""
    path = scope["path"]
    if path[:1] != "/" and "://" in path:
        authority, _, rest = path.partition("://")[2].partition("/")
        path = scope["path"] = "/" + rest
        scope["headers"] = with_host_of_target(scope["headers"], authority.encode("latin-1", "replace"))
    if path[-1:] == "/" and len(path) > 1:
        scope["path"] = path.rstrip("/") or "/"


def with_own_headers(scope: Scope, send: Send) -> Send:
    """Return a `send` that adds the response's own headers, and stores its status and size in the scope."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            scope[SENT] = message["status"]
            headers = list(message["headers"])
            if any(
                name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
            ):
                # The latency of a stream is the time until its first byte, not its duration.
                scope[FIRST_BYTE_AT] = time.perf_counter()
            message["headers"] = [*headers, *scope[OWN_HEADERS]]
        else:
            scope[SENT_BYTES] = scope.get(SENT_BYTES, 0) + len(message.get("body", b""))
        await send(message)

    return sending


def with_body_deadline(receive: Receive, seconds: float) -> Receive:
    """Return a `receive` that limits the time until the whole body has arrived.

    Raises:
        ProblemException: The body did not arrive in time.
    """
    deadline = time.monotonic() + seconds
    complete = False

    async def receiving() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                message = await receive()
        except TimeoutError:
            detail = f"The body did not arrive within {seconds:g} s."
            raise ProblemException(Problem(SLOW_BODY, detail, field="body")) from None
        complete = message["type"] != "http.request" or not message.get("more_body")
        return message

    return receiving


def head_channels(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return channels with which the application answers HEAD as GET: the head is sent, the body dropped.

    After the head the application receives a disconnect of the client, since a stream would never end.
    """
    scope["method"] = "GET"
    started = asyncio.Event()

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            # The server reads the method when it decides whether a body may follow.
            scope["method"] = "HEAD"
            await send(message)
            await send({"type": "http.response.body", "body": b""})
            started.set()

    body_read = False

    async def receiving() -> Message:
        nonlocal body_read
        if not body_read:
            message = await receive()
            body_read = message["type"] != "http.request" or not message.get("more_body")
            return message
        await started.wait()
        return {"type": "http.disconnect"}

    return receiving, sending


def _trace_id(scope: Scope) -> str:
    given = context.parse_traceparent(header(scope, b"traceparent").decode("latin-1"))
    return given or context.new_trace_id()


async def send_rejection(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a problem document; below /api/v3 send an error in CoinGecko's form."""
    if not scope["path"].startswith(PREFIX):
        await ProblemResponse(problem)(scope, receive, send)
        return
    error = CompatError(
        problem.kind.status, "status", problem.detail, retry_after=problem.retry_after_seconds
    )
    await send_compat_error(error, send)
