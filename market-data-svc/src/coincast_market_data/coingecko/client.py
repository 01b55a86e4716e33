"""The pooled HTTP client of the upstream: one attempt per call, with limits on time, size and connections.

The limit on the decoded size of a reply protects the memory against compression bombs. The `Date` headers of
replies set the clock of the data.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpcore2
import httpx2
import orjson
from opentelemetry.trace import SpanKind

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.tracing import current_tracing
from coincast_market_data.coingecko.api_plans import ActivePlan
from coincast_market_data.coingecko.error_mapping import (
    BadData,
    Cause,
    ErrorReply,
    UpstreamFailure,
    cause_of_exception,
    error_from_reply,
    error_in_document,
    is_throttled,
    status_of_error_document,
)
from coincast_market_data.ports import UpstreamReply, UpstreamRequest
from coincast_market_data.settings import Settings, UpstreamName

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class _Decoder(Protocol):
    def feed(self, data: bytes, room: int) -> bytes: ...


class _Plain:
    def feed(self, data: bytes, room: int) -> bytes:
        return data[: room + 1]


class _Zipped:
    """Decoder that inflates at most `room` + 1 bytes per step; that of httpx2 would inflate a whole chunk."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP_OR_ZLIB)

    def feed(self, data: bytes, room: int) -> bytes:
        return self._inflate.decompress(data, room + 1)


async def read_bounded(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the decoded body.

    Args:
        response: A streamed response.
        max_bytes: The limit of the decoded body.

    Raises:
        BadData: The body is larger than `max_bytes` or wrongly encoded.
    """
    decoder = _decoder(response.headers.get("content-encoding", ""))
    parts: list[bytes] = []
    room = max_bytes
    try:
        async for chunk in response.aiter_raw():
            part = decoder.feed(chunk, room)
            if len(part) > room:
                raise BadData(f"CoinGecko's reply is larger than {max_bytes} bytes decoded and was dropped")
            room -= len(part)
            parts.append(part)
    except zlib.error as error:
        raise BadData(f"CoinGecko's reply is wrongly compressed: {error}") from error
    return b"".join(parts)


def _decoder(encoding: str) -> _Decoder:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _Plain()
    if name in ("gzip", "deflate"):
        return _Zipped()
    raise BadData(f"CoinGecko's reply has an encoding that was not requested: {name[:40]}")


def parse_json(raw: bytes) -> Any:
    """Parse a JSON document.

    NaN and infinities are returned as floats, which the parsers quarantine one by one.

    Raises:
        BadData: The text is not JSON.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadData(f"CoinGecko's reply is not JSON: {str(error)[:120]}") from error


SANDBOX_NOW_HEADER = "x-coincast-sandbox-now"
# A machine's clock may be wrong by a day (a wrong time zone, a suspended host). If the difference is larger
# than this, the upstream's date is assumed to be wrong.
MAX_CORRECTION_SECONDS = 26 * 3600
# Smaller differences are ignored: they come from the transit time and the whole seconds of the header.
MIN_CORRECTION_SECONDS = 30
# The `Date` of a cached reply is too old but never too new, so the newest date of this many replies is used.
SAMPLES = 5
# A correction beyond the limit is accepted if the wall clock of this machine, which may have been set since
# the start, agrees with the upstream's date within this difference.
AGREEMENT_SECONDS = 300
# The end of the year 9999, UNIX seconds.
LATEST_SECONDS = 253_402_300_799.0
# A longer `Age` header is ignored.
MAX_CACHED_SECONDS = 86_400.0


class UpstreamClock:
    """The upstream's clock: a steady clock of this process plus an offset that is learnt from replies.

    Args:
        clock: A clock that does not jump when the machine's clock is set.
        sandbox: Whether the upstream is a sandbox, whose time may be years in the past.
        wall: Returns the machine's current wall time, UNIX seconds; None if it is not known.
    """

    def __init__(self, clock: Clock, *, sandbox: bool, wall: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._sandbox = sandbox
        self._wall = wall
        self._offsets: deque[float] = deque(maxlen=SAMPLES)
        self.offset_seconds = 0.0

    def now(self) -> float:
        """Return UNIX seconds on the upstream's clock."""
        return self._clock.now() + self.offset_seconds

    def learn(self, headers: Mapping[str, str]) -> None:
        """Update the offset from the headers of a reply; headers without a usable time are ignored."""
        server_time = self._read_time(headers)
        if server_time is None:
            return
        offset = server_time - self._clock.now()
        if self._sandbox:
            self.offset_seconds = offset
        elif abs(offset) <= MAX_CORRECTION_SECONDS or self._is_confirmed(server_time):
            self._offsets.append(offset)
            newest = self._newest_offset()
            self.offset_seconds = newest if abs(newest) >= MIN_CORRECTION_SECONDS else 0.0

    def _newest_offset(self) -> float:
        """Return the offset of the newest date; one that is alone counts only if it is nearer to our clock.

        One server with a wrong clock would else make every figure hours older for the next replies.
        """
        first, *others = sorted(self._offsets, reverse=True)
        if others and first - others[0] > MIN_CORRECTION_SECONDS:
            return min(first, others[0], key=abs)
        return first

    def _is_confirmed(self, server_time: float) -> bool:
        """Return whether the machine's wall clock, which may have been set, agrees with the upstream's."""
        return self._wall is not None and abs(self._wall() - server_time) <= AGREEMENT_SECONDS

    def _read_time(self, headers: Mapping[str, str]) -> float | None:
        try:
            if self._sandbox:
                moment = float(headers[SANDBOX_NOW_HEADER])
                return moment if 0 <= moment <= LATEST_SECONDS else None
            # An HTTP cache forwards the Date of the origin, and its Age header states how old the reply is.
            # The header is in UTC; without a zone it must not be read in the zone of this machine.
            date = parsedate_to_datetime(headers["date"])
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            return date.timestamp() + cached_seconds(headers)
        except (KeyError, ValueError, OverflowError):
            return None


def cached_seconds(headers: Mapping[str, str]) -> float:
    """Return for how many seconds an HTTP cache on the way has had a reply, by its `Age` header."""
    try:
        age = float(headers["age"])
    except (KeyError, ValueError):
        return 0.0
    return age if 0 <= age <= MAX_CACHED_SECONDS else 0.0


SANDBOX_HEADER = "x-coincast-sandbox"
# CoinGecko's headers about the pages of a list, which the mirror forwards.
PAGING_HEADERS = ("link", "per-page", "total")


def open_http(settings: Settings, transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """Open the connection pool.

    Proxies of the environment are ignored and redirects are not followed. Keys are sent in a header, never in
    the address.

    Args:
        settings: The timeouts, pool size, proxy and certificates.
        transport: Replaces the network in tests.
    """
    headers = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "coincast-market-data"}
    # httpx2 logs a line for every request, which the metrics make superfluous.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        headers=headers,
        http2=settings.http2 and not settings.base_url.startswith("http://"),
        verify=ssl_context(settings),
        follow_redirects=False,
        trust_env=False,
        proxy=settings.proxy,
        transport=transport,
        timeout=httpx2.Timeout(settings.call_deadline_seconds, connect=settings.connect_timeout_seconds),
        limits=httpx2.Limits(
            max_connections=settings.max_connections,
            max_keepalive_connections=settings.max_keepalive_connections,
        ),
    )


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context for the upstream: the usual trusted certificates, and those of the settings."""
    context = httpx2.create_ssl_context(trust_env=False)
    if settings.upstream_ca_file is not None:
        context.load_verify_locations(settings.upstream_ca_file)
    return context


class HttpUpstream:
    """Fetches a document in one attempt, and maps errors of the HTTP client to those of the chassis."""

    def __init__(
        self, http: httpx2.AsyncClient, settings: Settings, clock: UpstreamClock, plan: ActivePlan
    ) -> None:
        self._http = http
        self._settings = settings
        self._plan = plan
        self._clock = clock
        self.in_flight = 0

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        """Send a GET below the base address, within the total deadline.

        Raises:
            CoincastError: CoinGecko answered with an error, too late, or not at all.
        """
        started = time.monotonic()
        self.in_flight += 1
        try:
            with current_tracing().span(f"GET {request.path}", kind=SpanKind.CLIENT):
                async with asyncio.timeout(self._settings.call_deadline_seconds):
                    status, headers, body = await self._get(request)
        except TimeoutError as error:
            limit = self._settings.call_deadline_seconds
            raise _late(f"CoinGecko did not answer {request.path} within {limit:g} s.") from error
        except httpx2.TimeoutException as error:
            raise _late(
                f"CoinGecko did not answer {request.path} in time ({type(error).__name__})."
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise _unreachable(error, self._plan.current.base_url) from error
        finally:
            self.in_flight -= 1
        self._check_identity(status, headers)
        self._clock.learn(headers)
        if status != 200:
            raise self._error(request, status, body, headers) from ErrorReply(status, body)
        if body.lstrip()[:1] not in (b"{", b"["):
            raise self._error_of_text(request, body, headers)
        document = parse_json(body)
        if error_in_document(document):
            reply = ErrorReply(status_of_error_document(document), body)
            raise self._error(request, status, body, headers) from reply
        paging = {name: headers[name] for name in PAGING_HEADERS if name in headers}
        took = time.monotonic() - started
        now = self._clock.now()
        return UpstreamReply(
            document=document,
            raw=body,
            received_at=now,
            as_of=now - cached_seconds(headers),
            seconds=took,
            headers=paging,
        )

    async def _get(self, request: UpstreamRequest) -> tuple[int, Mapping[str, str], bytes]:
        plan = self._plan.current
        key = self._settings.api_key
        headers = {plan.key_header: key.get_secret_value()} if plan.key_header and key is not None else {}
        # Ids may have spaces and brackets, so the path is quoted.
        url = f"{plan.base_url}/{quote(request.path, safe='/')}"
        async with self._http.stream("GET", url, params=list(request.query), headers=headers) as response:
            body = await read_bounded(response, self._settings.max_reply_bytes)
            return response.status_code, response.headers, body

    def _error(
        self, request: UpstreamRequest, status: int, body: bytes, headers: Mapping[str, str]
    ) -> CoincastError:
        return error_from_reply(status, body, headers, self._clock.now(), path=request.path)

    def _error_of_text(
        self, request: UpstreamRequest, body: bytes, headers: Mapping[str, str]
    ) -> CoincastError:
        """Return the error for a reply with status 200 that is neither a JSON object nor a list."""
        text = body.decode("utf-8", "replace")
        if is_throttled(text):
            return self._error(request, 429, body, headers)
        found = "A web page" if text.lstrip().startswith("<") else "Text" if text.strip() else "Nothing"
        return UpstreamFailure(
            Cause.NOT_COINGECKO,
            f"{found} came instead of CoinGecko's data from {_host(self._plan.current.base_url)}.",
            retry_after_seconds=30,
        )

    def _check_identity(self, status: int, headers: Mapping[str, str]) -> None:
        """Check that the upstream is of the declared kind, so that invented prices never pass as real ones.

        Raises:
            UpstreamFailure: A sandbox answers although CoinGecko is declared, or the other way round.
        """
        is_sandbox = SANDBOX_HEADER in headers
        if is_sandbox and self._settings.upstream != UpstreamName.SANDBOX:
            raise UpstreamFailure(
                Cause.NOT_COINGECKO,
                "MARKET_UPSTREAM is coingecko, but a sandbox answers at MARKET_UPSTREAM_URL.",
                retry_after_seconds=30,
            )
        if status == 200 and not is_sandbox and self._settings.upstream == UpstreamName.SANDBOX:
            raise UpstreamFailure(
                Cause.NOT_COINGECKO,
                "MARKET_UPSTREAM is sandbox, but the server at MARKET_UPSTREAM_URL is not a sandbox.",
                retry_after_seconds=30,
            )


def _late(sentence: str) -> UpstreamFailure:
    """Return the failure for an answer that did not come in time; a retry may help."""
    return UpstreamFailure(Cause.TIMEOUT, sentence, retry_after_seconds=5)


def _unreachable(error: Exception, base_url: str) -> UpstreamFailure:
    """Return the failure for a connection that could not be opened, or was lost."""
    host = _host(base_url)
    cause = cause_of_exception(error)
    sentences = {
        Cause.DNS: f"The name {host} cannot be resolved.",
        Cause.TLS: f"No trusted TLS connection to {host} can be made.",
    }
    sentence = sentences.get(cause, f"CoinGecko cannot be reached at {host} ({type(error).__name__}).")
    return UpstreamFailure(cause, sentence, retry_after_seconds=5)


def _host(base_url: str) -> str:
    return urlsplit(base_url).netloc


class PoolStats:
    """Counts the connections of the pool; zero if the transport has no pool, as a fake in a test."""

    def __init__(self, http: httpx2.AsyncClient, upstream: HttpUpstream) -> None:
        self._http = http
        self._upstream = upstream

    def in_flight(self) -> int:
        """Return the number of calls in flight."""
        return self._upstream.in_flight

    def connections(self) -> tuple[int, int]:
        """Return (open connections, idle ones among them)."""
        # httpx2 has no public access to its pool. If a later release moves it, the figures are zero and the
        # status report still works.
        pool = getattr(getattr(self._http, "_transport", None), "_pool", None)
        if not isinstance(pool, httpcore2.AsyncConnectionPool):
            return 0, 0
        found = list(pool.connections)
        return len(found), sum(connection.is_idle() for connection in found)
