"""Splits a batch of prices into upstream calls, makes the calls, and caches the plausible prices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote as quote_url

import orjson
from cachetools import LRUCache

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_market_data import metrics
from coincast_market_data.cache.freshness import FreshnessPolicy
from coincast_market_data.cache.two_level import CacheEntry, CacheKind, TwoLevelCache
from coincast_market_data.coingecko.error_mapping import UnconfirmedData
from coincast_market_data.coingecko.parser import (
    incomplete_row_of,
    parse_quotes,
    price_fault,
    quote_figure_faults,
)
from coincast_market_data.domain import Quote
from coincast_market_data.identifiers import Pair, pair_of, quote_key
from coincast_market_data.ports import DefectLog, Priority, Upstream, UpstreamReply, UpstreamRequest

FIXED_QUERY = (
    ("include_market_cap", "true"),
    ("include_24hr_vol", "true"),
    ("include_24hr_change", "true"),
    ("include_last_updated_at", "true"),
    ("precision", "full"),
)
EXTRA_CALLS = 4
FIXED_BYTES = sum(len(key) + len(value) + 2 for key, value in FIXED_QUERY) + len("ids=&vs_currencies=")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The ids and currencies of one upstream call, both sorted."""

    ids: tuple[str, ...]
    currencies: tuple[str, ...]

    def pairs(self) -> list[Pair]:
        """Return all pairs that the call fetches."""
        return [(coin, currency) for coin in self.ids for currency in self.currencies]

    def query(self) -> tuple[tuple[str, str], ...]:
        """Return the call's parameters."""
        return (("ids", ",".join(self.ids)), ("vs_currencies", ",".join(self.currencies)), *FIXED_QUERY)

    def halves(self) -> list[Chunk]:
        """Return two smaller chunks, or none if there is only one pair.

        The ids are split if there are several, otherwise the currencies.
        """
        if len(self.ids) > 1:
            middle = len(self.ids) // 2
            return [Chunk(self.ids[:middle], self.currencies), Chunk(self.ids[middle:], self.currencies)]
        if len(self.currencies) > 1:
            middle = len(self.currencies) // 2
            return [Chunk(self.ids, self.currencies[:middle]), Chunk(self.ids, self.currencies[middle:])]
        return []


def most_calls(chunk: Chunk) -> int:
    """Return how many upstream calls a refused chunk may cost: enough to find one bad pair, and four more."""
    return 1 + 2 * (len(chunk.pairs()) - 1).bit_length() + EXTRA_CALLS


def plan_chunks(pairs: Iterable[Pair], *, max_ids: int, max_query_bytes: int) -> list[Chunk]:
    """Return chunks that together have every pair, each within both limits.

    A chunk has all currencies of the pairs. An id that is longer than the limit is sent in a chunk of its
    own.

    Args:
        pairs: The pairs.
        max_ids: The most ids in one chunk.
        max_query_bytes: The longest query string of one call.
    """
    wanted = set(pairs)
    currencies = tuple(sorted({currency for _, currency in wanted}))
    room = max_query_bytes - FIXED_BYTES - _width(currencies)
    ids = sorted({coin for coin, _ in wanted})
    return [Chunk(part, currencies) for part in split_by_width(ids, room, max_ids)]


def split_by_width(ids: Sequence[str], room: int, most: int) -> list[tuple[str, ...]]:
    """Split ids, in their order, into parts.

    Args:
        ids: The ids.
        room: The most bytes of a part in a query string.
        most: The most ids of a part.
    """
    parts: list[tuple[str, ...]] = []
    part: list[str] = []
    used = 0
    for coin in ids:
        width = _width((coin,))
        if part and (len(part) >= most or used + width > room):
            parts.append(tuple(part))
            part, used = [], 0
        part.append(coin)
        used += width
    return [*parts, tuple(part)] if part else parts


def _width(names: Sequence[str]) -> int:
    # In a query string the comma after an id is %2C, three bytes.
    return sum(len(quote_url(name, safe="")) + 3 for name in names)


# The time of the last trade may go back by at most this, as replicas and caches of the upstream differ by
# minutes.
BACKWARDS_SECONDS = 3600.0
MAX_PRICELESS = 10_000
ABSENT_SECONDS = 3600.0
Outcome = CacheEntry[Quote | None] | CoincastError
QuoteCache = TwoLevelCache[Quote | None]
IncompleteRow = Mapping[str, float | None]
# The predicate of the error sentence about a rejected price, by reason.
REASON_TEXTS = {
    "not_finite": "is not a finite number",
    "not_a_number": "is not a number",
    "not_positive": "is not positive",
    "absurd_clock": "has an impossible time",
    "clock_back": "is older than the known one",
    "left_out": "is missing in this reply",
    "jump": (
        "is too far off the last good one (tenfold, twofold within hours, or by half beside a stored close) "
        "and not confirmed yet"
    ),
}


def quote_kind(fresh_seconds: float, if_error_seconds: float) -> CacheKind[Quote | None]:
    """Return the cache kind of quotes. The value None means that the upstream does not have a pair.

    Args:
        fresh_seconds: How long a quote is fresh.
        if_error_seconds: How old a quote may be that is served after a failed fetch.
    """
    windows = FreshnessPolicy(fresh_seconds, fresh_seconds * 4, max(if_error_seconds, fresh_seconds * 4))
    return CacheKind("quote", windows, _encode, _decode, is_quote_of)


def compared_kind(kind: CacheKind[Quote | None], judge: StoredPriceValidator) -> CacheKind[Quote | None]:
    """Return a kind whose quotes from Redis are compared with the last good prices, like fetched ones."""

    def is_valid(key: str, quote: Quote | None) -> bool:
        return is_quote_of(key, quote) and (quote is None or judge.consistent(pair_of(key), quote.price))

    async def prepare(keys: Sequence[str]) -> None:
        await judge.prepare([pair_of(key) for key in keys])

    return replace(kind, is_valid=is_valid, prepare=prepare)


def is_quote_of(key: str, quote: Quote | None) -> bool:
    """Return whether a quote that was read from Redis belongs to a key and has valid figures."""
    if quote is None:
        return True
    figures = (quote.market_cap, quote.volume_24h, quote.change_24h_percent, quote.last_updated_at)
    return (
        quote_key((quote.id, quote.vs_currency)) == key
        and not price_fault(quote.price)
        and all(value is None or math.isfinite(value) for value in figures)
    )


class PriceValidator(Protocol):
    """Checks which prices are plausible."""

    async def prepare(self, pairs: Iterable[Pair]) -> None:
        """Load the last good prices of pairs; call it before `plausible`."""
        ...

    def plausible(self, pair: Pair, price: float) -> bool:
        """Return whether a price may be served and cached."""
        ...

    def knows(self, pair: Pair) -> bool:
        """Return whether a price or a recent close of a pair is known."""
        ...

    def plausible_supply(self, pair: Pair, coins: float) -> bool:
        """Return whether the supply of a coin is plausible that follows from its market cap and price."""
        ...


class StoredPriceValidator(Protocol):
    """Compares prices that other processes stored with the last good ones."""

    async def prepare(self, pairs: Iterable[Pair]) -> None:
        """Load the last prices of these pairs."""
        ...

    def consistent(self, pair: Pair, price: float) -> bool:
        """Return whether nothing that is known speaks against the price."""
        ...


class QuoteFetcher:
    """Makes the upstream call for a chunk.

    Args:
        upstream: CoinGecko.
        cache: The cache of quotes.
        clock: The clock of the cache.
        judge: Checks which prices are plausible.
        defects: Records quarantined figures.
    """

    def __init__(
        self,
        upstream: Upstream,
        cache: QuoteCache,
        clock: Clock,
        judge: PriceValidator,
        defects: DefectLog,
    ) -> None:
        self._upstream = upstream
        self._cache = cache
        self._clock = clock
        self._judge = judge
        self._defects = defects
        # Coins that CoinGecko lists without a price: `{"id": {}}`.
        self._priceless: LRUCache[str, None] = LRUCache(MAX_PRICELESS)
        # Rows that lack a figure, or whose price is 0 since the coin is no longer traded. The mirror passes
        # them through; they are not used otherwise.
        self._incomplete: LRUCache[Pair, CacheEntry[IncompleteRow]] = LRUCache(MAX_PRICELESS)
        # Since when a known pair is missing in replies, monotonic seconds.
        self._missing_since: LRUCache[Pair, float] = LRUCache(MAX_PRICELESS)

    def is_priceless(self, coin: str) -> bool:
        """Return whether CoinGecko's last reply had an empty row for a coin, which means no price."""
        return coin in self._priceless

    def incomplete_row(self, pair: Pair) -> CacheEntry[IncompleteRow] | None:
        """Return the last row of a pair if it lacked a figure or its price was 0; otherwise None."""
        return self._incomplete.get(pair)

    async def fetch(self, chunk: Chunk, priority: Priority) -> dict[Pair, Outcome]:
        """Fetch a chunk and cache its entries.

        Returns:
            For each pair its entry, or the error that its price was quarantined.

        Raises:
            CoincastError: The upstream call failed.
        """
        request = UpstreamRequest("simple/price", chunk.query(), "prices", priority)
        reply = await self._upstream.fetch(request)
        self._note_priceless(chunk.ids, reply.document)
        good, bad = parse_quotes(reply.document, chunk.ids, chunk.currencies, reply.received_at)
        await self._judge.prepare(good)
        stored_at = self._clock.now()
        self._note_incomplete(chunk.pairs(), reply, stored_at)
        entries: dict[Pair, CacheEntry[Quote | None]] = {}
        faults = {pair: reject.reason for pair, reject in bad.items()}
        for pair, figure, fault in quote_figure_faults(reply.document, good):
            metrics.QUARANTINED.labels(reason=fault).inc()
            self._defects.note(*pair, f"price: {figure} {fault}")
        for pair, quote in good.items():
            if quote is not None and not self._judge.plausible(pair, quote.price):
                faults[pair] = "jump"
            elif quote is None and self._was_there(pair):
                faults[pair] = "left_out"
            elif quote is not None and self._went_back(pair, quote):
                faults[pair] = "clock_back"
            else:
                if quote is not None:
                    self._missing_since.pop(pair, None)
                kept = self._with_plausible_cap(pair, quote)
                entries[pair] = CacheEntry(kept, stored_at, reply.as_of, reply.seconds)
        self._cache.write({quote_key(pair): entry for pair, entry in entries.items()})
        return {**entries, **{pair: self._quarantined(pair, reason) for pair, reason in faults.items()}}

    def _note_priceless(self, coins: Iterable[str], document: object) -> None:
        rows = document if isinstance(document, dict) else {}
        for coin in coins:
            if isinstance(rows.get(coin), dict):
                self._priceless[coin] = None
            else:
                self._priceless.pop(coin, None)

    def _note_incomplete(self, pairs: Iterable[Pair], reply: UpstreamReply, stored_at: float) -> None:
        rows = reply.document if isinstance(reply.document, dict) else {}
        for pair in pairs:
            row = incomplete_row_of(pair, rows.get(pair[0]))
            if row is None or (not row.get(pair[1]) and self._was_there(pair)):
                self._incomplete.pop(pair, None)
            else:
                self._incomplete[pair] = CacheEntry(row, stored_at, reply.as_of, reply.seconds)

    def _with_plausible_cap(self, pair: Pair, quote: Quote | None) -> Quote | None:
        """Remove a market cap if it implies that the supply changed tenfold between two fetches."""
        if quote is None or quote.market_cap is None:
            return quote
        supply = quote.market_cap / quote.price
        if self._judge.plausible_supply(pair, supply):
            return quote
        metrics.QUARANTINED.labels(reason="supply_jump").inc()
        self._defects.note(*pair, "price: supply_jump")
        return replace(quote, market_cap=None)

    def _went_back(self, pair: Pair, quote: Quote) -> bool:
        """Return whether the time of the last trade is much earlier than in the cached quote."""
        before = self._cache.peek(quote_key(pair))
        known = before.value.last_updated_at if before and before.value else None
        seen = quote.last_updated_at
        return known is not None and seen is not None and seen < known - BACKWARDS_SECONDS

    def _was_there(self, pair: Pair) -> bool:
        """Return whether a pair without a price is known, so that this is probably an error.

        It is believed to be gone once it was missing for ABSENT_SECONDS.
        """
        before = self._cache.peek(quote_key(pair))
        if (before is None or before.value is None) and not self._judge.knows(pair):
            return False
        now = self._clock.monotonic()
        first = self._missing_since.setdefault(pair, now)
        return now - first < ABSENT_SECONDS

    def _quarantined(self, pair: Pair, reason: str) -> UnconfirmedData:
        metrics.QUARANTINED.labels(reason=reason).inc()
        self._defects.note(*pair, f"price: {reason}")
        coin, currency = pair
        text = REASON_TEXTS.get(reason, reason)
        return UnconfirmedData(
            f"CoinGecko's price of {coin} in {currency} {text}; it was rejected", retry_after_seconds=30
        )


def _encode(quote: Quote | None) -> bytes:
    if quote is None:
        return b"null"
    return orjson.dumps(
        [
            quote.id, quote.vs_currency, quote.price, quote.market_cap, quote.volume_24h,
            quote.change_24h_percent,
            quote.last_updated_at,
        ]
    )  # fmt: skip


def _decode(data: bytes) -> Quote | None:
    row = orjson.loads(data)
    return None if row is None else Quote(*row)
