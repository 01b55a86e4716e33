"""One pooled HTTP client for the upstream: one attempt, bounded in time, size and connections."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import httpx2
from opentelemetry.trace import SpanKind

from coincast_chassis.errors import Timeout
from coincast_chassis.observability.tracing import current_tracing
from coincast_market_data.coingecko.api_plans import ActivePlan
from coincast_market_data.coingecko.availability import Cause, UpstreamFailure, cause_of_exception
from coincast_market_data.coingecko.bounded_reader import parse_json, read_bounded
from coincast_market_data.coingecko.error_mapping import (
    BadData,
    ErrorReply,
    error_from_reply,
    error_in_document,
    status_of_error_document,
)
from coincast_market_data.coingecko.server_clock import UpstreamClock, cached_seconds
from coincast_market_data.ports import UpstreamReply, UpstreamRequest
from coincast_market_data.settings import Settings, UpstreamName

SANDBOX_HEADER = "x-coincast-sandbox"
# CoinGecko's headers about the pages of a list.
PAGING_HEADERS = ("link", "per-page", "total")


def open_http(settings: Settings, transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """Open the connection pool.

    It uses no proxies from the environment and follows no redirects; keys travel in a header, never in the
    address.

    Args:
        settings: Give timeouts, pool size and certificates.
        transport: Replaces the network in tests.
    """
    headers = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "coincast-market-data"}
    # Its log line for every request adds nothing to the metrics.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        headers=headers,
        http2=settings.http2 and not settings.base_url.startswith("http://"),
        verify=trusted(settings),
        follow_redirects=False,
        trust_env=False,
        transport=transport,
        timeout=httpx2.Timeout(settings.call_deadline_seconds, connect=settings.connect_timeout_seconds),
        limits=httpx2.Limits(
            max_connections=settings.max_connections,
            max_keepalive_connections=settings.max_keepalive_connections,
        ),
    )


def trusted(settings: Settings) -> ssl.SSLContext:
    """Return the trusted certificates for the upstream: the usual ones, and those of the settings."""
    context = httpx2.create_ssl_context(trust_env=False)
    if settings.upstream_ca_file is not None:
        context.load_verify_locations(settings.upstream_ca_file)
    return context


class HttpUpstream:
    """Fetches a document in one attempt. Raises the chassis' errors; foreign errors end here."""

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
            CoincastError: CoinGecko answered with an error, not in time, or not at all.
        """
        started = time.monotonic()
        self.in_flight += 1
        try:
            with current_tracing().span(f"GET {request.path}", kind=SpanKind.CLIENT):
                async with asyncio.timeout(self._settings.call_deadline_seconds):
                    status, headers, body = await self._get(request)
        except TimeoutError as error:
            limit = self._settings.call_deadline_seconds
            raise Timeout(f"CoinGecko did not answer {request.path} within {limit:g} s") from error
        except httpx2.TimeoutException as error:
            raise Timeout(
                f"CoinGecko did not answer {request.path} in time ({type(error).__name__})"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise _unreachable(error, self._plan.current.base_url) from error
        finally:
            self.in_flight -= 1
        self._check_identity(status, headers)
        self._clock.learn(headers)
        if status != 200:
            raise error_from_reply(status, body, headers, self._clock.now()) from ErrorReply(status, body)
        if body.lstrip()[:1] == b"<":
            raise UpstreamFailure(
                Cause.NOT_COINGECKO,
                f"A web page came instead of CoinGecko's data from {_host(self._plan.current.base_url)}.",
                retry_after_seconds=30,
            )
        document = parse_json(body)
        if error_in_document(document):
            reply = ErrorReply(status_of_error_document(document), body)
            raise error_from_reply(status, body, headers, self._clock.now()) from reply
        paging = {name: headers[name] for name in PAGING_HEADERS if name in headers}
        took = time.monotonic() - started
        return UpstreamReply(
            document=document,
            raw=body,
            received_at=self._clock.now(),
            seconds=took,
            headers=paging,
            cached_seconds=cached_seconds(headers),
        )

    async def _get(self, request: UpstreamRequest) -> tuple[int, Mapping[str, str], bytes]:
        plan = self._plan.current
        key = self._settings.api_key
        headers = {plan.key_header: key.get_secret_value()} if plan.key_header and key is not None else {}
        # Ids may hold spaces and brackets.
        url = f"{plan.base_url}/{quote(request.path, safe='/')}"
        async with self._http.stream("GET", url, params=list(request.query), headers=headers) as response:
            body = await read_bounded(response, self._settings.max_reply_bytes)
            return response.status_code, response.headers, body

    def _check_identity(self, status: int, headers: Mapping[str, str]) -> None:
        """Check that the upstream is the declared one: invented prices must never pass as real ones."""
        is_sandbox = SANDBOX_HEADER in headers
        if is_sandbox and self._settings.upstream != UpstreamName.SANDBOX:
            raise BadData("MARKET_UPSTREAM=coingecko, but a sandbox answers at MARKET_UPSTREAM_URL: refused")
        if status == 200 and not is_sandbox and self._settings.upstream == UpstreamName.SANDBOX:
            raise BadData(
                "MARKET_UPSTREAM=sandbox, but what answers at MARKET_UPSTREAM_URL is no sandbox: refused"
            )


def _unreachable(error: Exception, base_url: str) -> UpstreamFailure:
    """Return the failure for a connection that could not be made or broke."""
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
