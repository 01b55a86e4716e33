"""CoinGecko's own documents through the cache, for the mirror of its paths; and its `ohlc` for everyone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data.cache.read_through import Answer, Fetch, Fetched, ReadThrough
from coincast_market_data.cleaning import Cleaner
from coincast_market_data.domain import OhlcCandle
from coincast_market_data.keys import canonical_currency, canonical_id, document_key
from coincast_market_data.parse import parse_ohlc
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest
from coincast_market_data.prices.document import answerable, simple_price
from coincast_market_data.prices.service import PriceService

OHLC_DAYS = (1, 7, 14, 30, 90, 180, 365)
LONGEST_VALUE = 4000
LISTS = ("ids", "vs_currencies", "vs_currency")
PARAMETER = re.compile(r"[a-z0-9_]{1,60}")
COIN = r"coins/(?P<id>[^/]+)"


@dataclass(frozen=True, slots=True)
class Route:
    """A path that is passed through: its breaker group and which cache window it has."""

    pattern: re.Pattern[str]
    group: str
    cache: str


ROUTES = (
    Route(re.compile("ping"), "other", "document"),
    Route(re.compile("simple/price"), "prices", "document"),
    Route(re.compile("simple/supported_vs_currencies"), "lists", "list"),
    Route(re.compile("coins/list"), "lists", "list"),
    Route(re.compile("coins/markets"), "markets", "document"),
    Route(re.compile(f"{COIN}/market_chart"), "series", "series"),
    Route(re.compile(f"{COIN}/market_chart/range"), "series", "series"),
    Route(re.compile(f"{COIN}/ohlc"), "series", "series"),
    Route(re.compile(f"{COIN}/history"), "series", "series"),
    Route(re.compile("search"), "lists", "list"),
    Route(re.compile(COIN), "coin", "document"),
)


class DocumentService:
    """Fetches a document once for all who ask within its window."""

    def __init__(
        self,
        upstream: Upstream,
        caches: Mapping[str, ReadThrough[bytes]],
        prices: PriceService,
        *,
        prices_fresh_seconds: float,
        cleaner: Cleaner,
    ) -> None:
        self._upstream = upstream
        self._caches = caches
        self._prices = prices
        self._prices_fresh_seconds = prices_fresh_seconds
        self._cleaner = cleaner

    async def get(
        self, path: str, query: Mapping[str, str], max_age_seconds: float | None = None
    ) -> Answer[bytes]:
        """The document in CoinGecko's shape. Raises NotFound for a path that is not mirrored."""
        route, path = find_route(path)
        parameters = canonical_query(query)
        if path == "simple/price" and answerable(dict(parameters)):
            return await simple_price(
                self._prices, dict(parameters), self._prices_fresh_seconds, max_age_seconds
            )
        return await self._caches[route.cache].get(
            document_key(path, parameters), self._fetch(route, path, parameters), max_age_seconds
        )

    async def ohlc(
        self, coin: str, currency: str, days: int, max_age_seconds: float | None = None
    ) -> tuple[str, str, Answer[Sequence[OhlcCandle]]]:
        """(id, currency, candles) as CoinGecko's `ohlc` gives them. Raises InvalidInput for other spans."""
        coin, code = canonical_id(coin), canonical_currency(currency)
        if days not in OHLC_DAYS:
            raise InvalidInput(
                f"days must be one of {', '.join(map(str, OHLC_DAYS))}; {days} was given", field="days"
            )
        query = {"vs_currency": code, "days": str(days), "precision": "full"}
        answer = await self.get(f"coins/{coin}/ohlc", query, max_age_seconds)
        candles, _ = parse_ohlc(orjson.loads(answer.value), math.inf)
        return coin, code, Answer(candles, answer.provenance, answer.fresh_for_seconds)

    def _fetch(self, route: Route, path: str, parameters: tuple[tuple[str, str], ...]) -> Fetch[bytes]:
        async def fetch(priority: Priority) -> Fetched[bytes]:
            reply = await self._upstream.fetch(UpstreamRequest(path, parameters, route.group, priority))
            document = self._cleaner.cleaned(path, dict(parameters), reply.document, reply.received_at)
            return Fetched(encode(document), reply.received_at, reply.seconds)

        return fetch


def encode(document: Any) -> bytes:
    """JSON bytes; numbers that are not finite become null, as JSON has no word for them."""
    return orjson.dumps(document)


def find_route(path: str) -> tuple[Route, str]:
    """(route, canonical path). Raises NotFound for a path that is not mirrored, InvalidInput for a bad
    coin id.
    """
    path = path.strip("/")
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found is None:
            continue
        if "id" in found.groupdict():
            coin = canonical_id(found["id"])
            path = f"coins/{coin}{path[len('coins/') + len(found['id']) :]}"
        return route, path
    raise NotFound(f"the path {path[:100]!r} is not mirrored", field="path")


def _canonical_list(value: str) -> str:
    return ",".join(sorted({part.strip().lower() for part in value.split(",") if part.strip()}))


def canonical_query(query: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Parameters sorted, lists of ids and currencies in canonical order. Raises InvalidInput for what
    cannot be one.
    """
    parameters = []
    for name, given in sorted(query.items()):
        if not PARAMETER.fullmatch(name):
            raise InvalidInput(f"{name[:60]!r} is not a parameter", field="query")
        if name.endswith("api_key"):
            continue
        if len(given) > LONGEST_VALUE or any(ord(char) < 32 for char in given):
            raise InvalidInput(f"the value of {name} is too long or holds control characters", field=name)
        parameters.append((name, _canonical_list(given) if name in LISTS else given))
    return tuple(parameters)
