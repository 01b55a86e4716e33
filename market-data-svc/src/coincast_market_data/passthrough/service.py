"""CoinGecko's own documents through the cache, for the mirror of its paths; and its `ohlc` for everyone."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from coincast_chassis.errors import InvalidInput
from coincast_market_data.cache.read_through import Fetch, FetchResult, ReadThrough, ServedValue
from coincast_market_data.coingecko.parser import parse_ohlc
from coincast_market_data.domain import OhlcCandle
from coincast_market_data.history.series_validation import SeriesValidator
from coincast_market_data.identifiers import canonical_currency, canonical_id, document_key
from coincast_market_data.passthrough.routes import Route, canonical_query, find_route
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest
from coincast_market_data.prices.plausibility import PlausibilityChecker
from coincast_market_data.prices.simple_price import SimplePriceService, answerable
from coincast_market_data.validation.sanitizer import PayloadSanitizer, series_prices, spot_prices

# Takes (coin, currency, cleaned chart, when it was sent) into the archive.
Keep = Callable[[str, str, Any, float], Awaitable[int]]
OHLC_DAYS = (1, 7, 14, 30, 90, 180, 365)


class PassthroughService:
    """Fetches a document once for all who ask within its window."""

    def __init__(
        self,
        upstream: Upstream,
        caches: Mapping[str, ReadThrough[bytes]],
        simple_prices: SimplePriceService,
        cleaner: PayloadSanitizer,
        *,
        plausibility: PlausibilityChecker,
        series_validator: SeriesValidator,
        keep: Keep,
    ) -> None:
        self._upstream = upstream
        self._caches = caches
        self._simple_prices = simple_prices
        self._cleaner = cleaner
        self._plausibility = plausibility
        self._series_validator = series_validator
        self._keep = keep

    async def get(
        self, path: str, query: Mapping[str, str], max_age_seconds: float | None = None
    ) -> ServedValue[bytes]:
        """The document in CoinGecko's shape. Raises NotFound for a path that is not mirrored."""
        route, path = find_route(path)
        parameters = canonical_query(route, query)
        if path == "simple/price" and answerable(dict(parameters)):
            return await self._simple_prices.get(dict(parameters), max_age_seconds)
        return await self._caches[route.cache].get(
            document_key(path, parameters), self._fetch(route, path, parameters), max_age_seconds
        )

    async def ohlc(
        self, coin: str, currency: str, days: int, max_age_seconds: float | None = None
    ) -> tuple[str, str, ServedValue[Sequence[OhlcCandle]]]:
        """(id, currency, candles) as CoinGecko's `ohlc` gives them. Raises InvalidInput for other spans."""
        coin, code = canonical_id(coin), canonical_currency(currency)
        if days not in OHLC_DAYS:
            raise InvalidInput(
                f"days must be one of {', '.join(map(str, OHLC_DAYS))}; {days} was given", field="days"
            )
        query = {"vs_currency": code, "days": str(days), "precision": "full"}
        answer = await self.get(f"coins/{coin}/ohlc", query, max_age_seconds)
        candles, _ = parse_ohlc(orjson.loads(answer.value), math.inf)
        return coin, code, ServedValue(candles, answer.provenance, answer.fresh_for_seconds)

    def _fetch(self, route: Route, path: str, parameters: tuple[tuple[str, str], ...]) -> Fetch[bytes]:
        async def fetch(priority: Priority) -> FetchResult[bytes]:
            reply = await self._upstream.fetch(UpstreamRequest(path, parameters, route.group, priority))
            query = dict(parameters)
            await self._plausibility.prepare(spot_prices(path, query, reply.document))
            document = self._cleaner.sanitize(path, query, reply.document, reply.received_at)
            if "/market_chart" in path or path.endswith("/ohlc"):
                await self._series_validator.check(path.split("/")[1], query, series_prices(path, document))
            if "/market_chart" in path and query.get("precision", "full") == "full":
                # Rounded prices are not worth keeping.
                currency = canonical_currency(query.get("vs_currency", ""))
                await self._keep(path.split("/")[1], currency, document, reply.received_at)
            return FetchResult(encode(document), reply.received_at, reply.seconds)

        return fetch


def encode(document: Any) -> bytes:
    """JSON bytes; numbers that are not finite become null, as JSON has no word for them."""
    return orjson.dumps(document)
