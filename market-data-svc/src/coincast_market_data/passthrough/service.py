"""Serves CoinGecko's own documents through the cache, for the mirror, and `ohlc` for the API."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from cachetools import TTLCache

from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_market_data import metrics
from coincast_market_data.cache.read_through import Fetch, FetchResult, ReadThrough, ServedValue
from coincast_market_data.coingecko.error_mapping import BadData, error_reply_of
from coincast_market_data.coingecko.parser import parse_ohlc
from coincast_market_data.domain import OhlcCandle, Provenance
from coincast_market_data.history.series_validation import SeriesValidator
from coincast_market_data.identifiers import (
    Pair,
    canonical_currency,
    canonical_id,
    document_key,
    read_document_key,
)
from coincast_market_data.passthrough.routes import Route, canonical_query, find_route
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest
from coincast_market_data.prices.simple_price import SimplePriceService, answerable
from coincast_market_data.validation.outliers import PlausibilityChecker
from coincast_market_data.validation.sanitizer import PayloadSanitizer, series_prices, spot_prices

# Stores (coin, currency, sanitised chart, UNIX seconds at which it was received) in the archive.
StoreChart = Callable[[str, str, Any, float], Awaitable[int]]
MAX_REFUSALS = 1000
# Lists that have entries at all times, where no parameter narrows them.
ALWAYS_FULL = frozenset(
    {
        "coins/markets",
        "coins/list",
        "simple/supported_vs_currencies",
        "exchanges",
        "exchanges/list",
        "exchange_rates",
        "asset_platforms",
        "coins/categories",
        "coins/categories/list",
    }
)
# Parameters that leave entries out, perhaps all of them, and the value that leaves none out, if there is one.
NARROWING = {"ids": "", "names": "", "symbols": "", "category": "", "filter": "", "status": "active"}
REFUSAL_SECONDS = 60.0
OHLC_DAYS = (1, 7, 14, 30, 90, 180, 365)


@dataclass(frozen=True, slots=True)
class ServedDocument:
    """A document in CoinGecko's form. If `error_status` is not 0, it is CoinGecko's error document."""

    value: bytes
    provenance: Provenance
    fresh_for_seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    error_status: int = 0
    retry_after_seconds: float | None = None


class PassthroughService:
    """Serves CoinGecko's documents; each is fetched once per fresh window for all callers.

    Args:
        upstream: CoinGecko.
        caches: The read-through caches by the kind that routes name.
        simple_prices: Answers `simple/price` from cached quotes.
        cleaner: Removes implausible figures.
        plausibility: Loads the prices with which new ones are compared.
        series_validator: Compares charts with the archive.
        keep: Stores charts in the archive.
        clock: Its monotonic time measures the age of cached refusals.
    """

    def __init__(
        self,
        upstream: Upstream,
        caches: Mapping[str, ReadThrough[bytes]],
        simple_prices: SimplePriceService,
        cleaner: PayloadSanitizer,
        *,
        plausibility: PlausibilityChecker,
        series_validator: SeriesValidator,
        keep: StoreChart,
        clock: Clock | None = None,
    ) -> None:
        self._upstream = upstream
        self._caches = caches
        self._simple_prices = simple_prices
        self._cleaner = cleaner
        self._plausibility = plausibility
        self._series_validator = series_validator
        self._keep = keep
        self._refusals: TTLCache[str, ServedDocument] = TTLCache(
            MAX_REFUSALS, REFUSAL_SECONDS, timer=(clock or steady_clock()).monotonic
        )

    async def get(
        self, path: str, query: Mapping[str, str], max_age_seconds: float | None = None
    ) -> ServedDocument:
        """Return the document in CoinGecko's form, or CoinGecko's own error document.

        Args:
            path: A supported path below /api/v3.
            query: Its parameters.
            max_age_seconds: The maximum accepted age; None for any.

        Raises:
            NotFound: The path is not mirrored.
            InvalidInput: A parameter or the coin id is not valid.
            CoincastError: CoinGecko is unavailable, or its error has no body that can be passed through.
        """
        route, path = find_route(path)
        parameters = canonical_query(route, query)
        key = document_key(path, parameters)
        if key in self._refusals:
            return self._refusals[key]
        try:
            if path == "simple/price" and answerable(dict(parameters)):
                served = await self._simple_prices.get(dict(parameters), max_age_seconds)
                return ServedDocument(served.value, served.provenance, served.fresh_for_seconds)
            cached = await self._caches[route.cache].get(
                key, self._fetch(route, path, parameters), max_age_seconds
            )
        except CoincastError as error:
            return self._refusal(key, error)
        headers, body = _unpack(cached.value)
        return ServedDocument(body, cached.provenance, cached.fresh_for_seconds, headers=headers)

    def _refusal(self, key: str, error: CoincastError) -> ServedDocument:
        """Return CoinGecko's error document; cache it for a minute if a repeated call would return it."""
        reply = error_reply_of(error)
        if reply is None or not reply.body:
            raise error
        refusal = ServedDocument(
            reply.body,
            self._simple_prices.provenance_of_now(),
            0.0,
            error_status=reply.status,
            retry_after_seconds=error.retry_after_seconds,
        )
        if reply.status < 500 and reply.status != 429:
            self._refusals[key] = refusal
        return refusal

    async def ohlc(
        self, coin: str, currency: str, days: int, max_age_seconds: float | None = None
    ) -> tuple[str, str, ServedValue[Sequence[OhlcCandle]]]:
        """Return (canonical id, canonical currency, candles) of CoinGecko's `ohlc`.

        Args:
            coin: The coin.
            currency: The currency.
            days: The span: 1, 7, 14, 30, 90, 180 or 365 days.
            max_age_seconds: The maximum accepted age; None for any.

        Raises:
            InvalidInput: An argument is not valid.
            CoincastError: The candles cannot be fetched.
        """
        coin, code = canonical_id(coin), canonical_currency(currency)
        if days not in OHLC_DAYS:
            raise InvalidInput(
                f"days must be one of {', '.join(map(str, OHLC_DAYS))}; {days} was given", field="days"
            )
        query = {"vs_currency": code, "days": str(days), "precision": "full"}
        route, path = find_route(f"coins/{coin}/ohlc")
        parameters = canonical_query(route, query)
        answer = await self._caches[route.cache].get(
            document_key(path, parameters), self._fetch(route, path, parameters), max_age_seconds
        )
        candles, _ = parse_ohlc(orjson.loads(_unpack(answer.value)[1]), math.inf)
        return coin, code, ServedValue(candles, answer.provenance, answer.fresh_for_seconds)

    async def _check_not_empty(self, path: str, query: Mapping[str, str], document: Any) -> None:
        """Raise BadData for an object, list or series that is empty where entries are known.

        The earlier document is served instead. A later page, a search, and a coin of which nothing is known
        may have no entry.
        """
        parts, currency = path.split("/"), query.get("vs_currency", "usd")
        coins: list[str] = []
        if path == "coins/markets" and "ids" in query:
            coins = query["ids"].split(",")
        elif parts[0] == "coins" and parts[2:] in ([], ["market_chart"], ["ohlc"]):
            coins = [parts[1]]
        narrowed = any(query.get(name, usual) != usual for name, usual in NARROWING.items())
        whole = path in ALWAYS_FULL and not narrowed
        first_page = query.get("page", "1") == "1"
        pairs = [(coin, currency) for coin in coins]
        await self._plausibility.prepare(pairs)
        known = (whole and first_page) or any(map(self._plausibility.knows, pairs))
        rows = document.get("prices") if isinstance(document, dict) and "prices" in document else document
        if known and rows in ([], {}):
            metrics.QUARANTINED.labels(reason="empty_table").inc()
            raise BadData(f"CoinGecko's reply of {path} is empty although it has entries")

    def _fetch(self, route: Route, path: str, parameters: tuple[tuple[str, str], ...]) -> Fetch[bytes]:
        async def fetch(priority: Priority) -> FetchResult[bytes]:
            reply = await self._upstream.fetch(UpstreamRequest(path, parameters, route.group, priority))
            query = dict(parameters)
            await self._plausibility.prepare(spot_prices(path, query, reply.document))
            await self._check_not_empty(path, query, reply.document)
            document = self._cleaner.sanitize(path, query, reply.document, reply.received_at)
            if route.chart_of_coin:
                await self._series_validator.check(path.split("/")[1], query, series_prices(path, document))
            if route.chart_of_coin and "/market_chart" in path and query.get("precision", "full") == "full":
                # Only charts with full precision are stored, since rounded prices would replace exact ones.
                currency = canonical_currency(query.get("vs_currency", ""))
                await self._keep(path.split("/")[1], currency, document, reply.received_at)
            return FetchResult(_pack(reply.headers, document), reply.as_of, reply.seconds)

        return fetch


def _pack(headers: Mapping[str, str], document: Any) -> bytes:
    """Encode headers and document, each as a line of JSON; numbers that are not finite become null."""
    return orjson.dumps(dict(headers)) + b"\n" + orjson.dumps(document)


def _unpack(packed: bytes) -> tuple[dict[str, str], bytes]:
    headers, _, body = packed.partition(b"\n")
    return orjson.loads(headers), body


def document_validator(consistent: Callable[[Pair, float], bool]) -> Callable[[str, bytes], bool]:
    """Return a check of documents that were read from Redis: JSON with figures that can be true.

    Args:
        consistent: Whether nothing that is known speaks against a spot price.
    """
    cleaner = PayloadSanitizer(lambda _coin, _currency, _text: None, consistent)

    def is_valid(key: str, packed: bytes) -> bool:
        headers, body = _unpack(packed)
        document = orjson.loads(body)
        path, query = read_document_key(key)
        # Without a time of its own: it was checked when the document was fetched.
        cleaned = cleaner.sanitize(path, query, document, math.inf)
        return bool(all(isinstance(value, str) for value in headers.values()) and cleaned == document)

    return is_valid
