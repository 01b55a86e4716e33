"""ASGI application of the CoinGecko-compatible API: route, validate, look up, fetch and render."""

from __future__ import annotations

import orjson

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.logs import get_logger
from coincast_gateway.asgi_types import Receive, Scope, Send
from coincast_gateway.auth.authenticator import auth_result
from coincast_gateway.cache.response_cache import CacheRequest, ResponseCache, raw_key
from coincast_gateway.clients.market import MarketClient
from coincast_gateway.coingecko_compat.errors import CompatError, compat_error, upstream_error
from coincast_gateway.coingecko_compat.routes import (
    CORS_HEADERS,
    KEY_PARAMETERS,
    PREFIX,
    PREFLIGHT_HEADERS,
    match_route,
    parse_query,
    validate_query,
)
from coincast_gateway.rendering import CachedResponse, RenderedResponse, unix_seconds
from coincast_gateway.serialization import enum_name, iso

log = get_logger("coincast.gateway")
PING = RenderedResponse(
    orjson.dumps({"gecko_says": "(V3) To the Moon!"}), fresh_seconds=3600.0, headers=CORS_HEADERS
)
# The longest time that the gateway caches a document, even if market-data-svc counts it as fresh for longer.
MAX_FRESH_SECONDS = 60.0


class Route:
    """Route of a mirrored request in the metrics: its path template, to bound label cardinality."""

    def __init__(self, path: str) -> None:
        self.path = path


UNKNOWN = Route(f"{PREFIX}/(not mirrored)")


class CompatApp:
    """ASGI application for all paths below /api/v3."""

    def __init__(self, market: MarketClient, cache: ResponseCache) -> None:
        self._market = market
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every error becomes an error response."""
        scope["route"] = UNKNOWN
        if scope["method"] == "OPTIONS":
            await send_preflight(send)
            return
        try:
            entry = await self._entry(scope)
        except CompatError as error:
            await send_compat_error(error, send)
        except CoincastError as error:
            await send_compat_error(compat_error(error), send)
        except Exception:
            log.exception("compat_request_failed")
            await send_compat_error(CompatError(500, "status", "Internal Server Error"), send)
        else:
            await entry.send(scope, send)

    async def _entry(self, scope: Scope) -> CachedResponse:
        mirrored, path = match_route(scope["path"])
        scope["route"] = Route(f"{PREFIX}/{mirrored.template}")
        if scope["method"] not in ("GET", "HEAD"):
            raise CompatError(405, "status", "Only GET is possible here.")
        query = parse_query(mirrored, scope["query_string"])
        validate_query(mirrored, query)
        if "read" not in auth_result(scope).scopes:
            raise CompatError(401, "status", "API Key Missing", code=10002)
        key = ("mirror", path, tuple(sorted(query.items())))
        request = CacheRequest(
            key, lambda: self._fetch(path, query), shared_name=repr(key), route=scope["route"]
        )
        raw = scope["query_string"]
        if not any(name.encode() in raw for name in KEY_PARAMETERS):
            self._cache.remember(raw_key(scope), request)
        return await self._cache.get(request)

    async def _fetch(self, path: str, query: dict[str, str]) -> RenderedResponse:
        if path == "ping":
            return PING
        response = await self._market.document(path, query)
        if response.error_status:
            wait = response.retry_after_seconds if response.HasField("retry_after_seconds") else None
            raise upstream_error(response.error_status, response.json, wait)
        provenance = response.provenance
        headers = list(CORS_HEADERS)
        headers += [(name.encode(), value.encode()) for name, value in response.headers.items()]
        headers += [(b"x-coincast-source", enum_name(provenance, "source").encode())]
        if provenance.HasField("as_of"):
            headers.append((b"x-coincast-as-of", iso(provenance.as_of).encode()))
        return RenderedResponse(
            response.json,
            as_of=unix_seconds(provenance.as_of) if provenance.HasField("as_of") else None,
            fresh_seconds=min(response.fresh_for_seconds, MAX_FRESH_SECONDS),
            headers=tuple(headers),
        )


async def send_compat_error(error: CompatError, send: Send) -> None:
    """Send an error in CoinGecko's form."""
    body = error.body()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *CORS_HEADERS,
        *error.headers(),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_preflight(send: Send) -> None:
    """Answer a CORS preflight, which needs no key, since browsers send none with it."""
    headers = [(b"content-length", b"0"), *PREFLIGHT_HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
