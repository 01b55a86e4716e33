"""`simple/price` in CoinGecko's shape from cached quotes, so that mirrored calls share batches and cache."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from coincast_chassis.errors import InvalidInput
from coincast_market_data.cache.read_through import ServedValue
from coincast_market_data.cache.two_level import CacheEntry
from coincast_market_data.coingecko.error_mapping import error_reply_of
from coincast_market_data.coingecko.parser import Pair
from coincast_market_data.domain import ItemFailure, Provenance, Quote, Quoted
from coincast_market_data.identifiers import MAX_CURRENCIES, split_ids
from coincast_market_data.item_errors import PASSING, raise_if_all_failed
from coincast_market_data.prices.service import PriceService, worst

# Rounding where no precision is requested, as seen in recorded replies: decimals by least price.
MONEY_DECIMALS = ((10_000.0, 0), (1.1, 2), (1.0, 3), (0.1, 6))
LEAST_WITH_EIGHT_DECIMALS = 1e-6
FIGURES_BELOW = 8
COIN_CODES = frozenset(["btc", "eth", "ltc", "bch", "bnb", "eos", "xrp", "xlm", "link", "dot", "yfi", "sol"])
FLAGS = ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at")


def answerable(query: Mapping[str, str]) -> bool:
    """Return whether quotes can answer: by ids, beside which CoinGecko ignores names and symbols."""
    return bool(query.get("ids")) and bool(query.get("vs_currencies"))


class SimplePriceService:
    """Replies as CoinGecko does: an unknown id or currency is left out, however many are requested."""

    def __init__(
        self,
        prices: PriceService,
        *,
        fresh_seconds: float,
        quoted: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        unknown: Callable[[str], bool],
        priceless: Callable[[str], bool],
        zero: Callable[[Pair], CacheEntry[Quote] | None] = lambda _pair: None,
    ) -> None:
        self._prices = prices
        self._fresh_seconds = fresh_seconds
        self._quoted = quoted
        self._unknown = unknown
        self._priceless = priceless
        self._zero = zero

    def provenance_of_now(self) -> Provenance:
        """Return the provenance of a reply that was looked up just now and has no figures."""
        return self._prices.nothing_found()

    async def get(self, query: Mapping[str, str], max_age_seconds: float | None = None) -> ServedValue[bytes]:
        """Return the document.

        Raises:
            InvalidInput: The precision is not valid.
        """
        digits = _precision(query.get("precision"))
        ids = query["ids"].split(",")
        codes = await self._quoted(query["vs_currencies"].split(","))
        if not codes:
            return self._of_no_currency(ids)
        parts = [codes[start : start + MAX_CURRENCIES] for start in range(0, len(codes), MAX_CURRENCIES)]
        answers = await asyncio.gather(*(self._prices.get(ids, part, max_age_seconds) for part in parts))
        found = [item for answer in answers for item in answer.prices]
        failures = [failure for answer in answers for failure in answer.failures]
        have = {(item.quote.id, item.quote.vs_currency) for item in found}
        zeros = self._zeros(pair for pair in itertools.product(split_ids(ids)[0], codes) if pair not in have)
        found += zeros
        # A price of 0 was quarantined; the mirror passes it on as CoinGecko does.
        zero_coins = {item.quote.id for item in zeros}
        failures = [failure for failure in failures if failure.id not in zero_coins]
        if not found:
            _raise_refusal(failures)
        raise_if_all_failed(failures, len(found))
        where = worst(item.provenance for item in found) or self._prices.nothing_found()
        flags = {flag for flag in FLAGS if query.get(flag, "").lower() == "true"}
        left = 0.0 if where.stale else max(0.0, self._fresh_seconds - where.age_seconds)
        document = _document(found, flags, digits)
        failed = {failure.id for failure in failures if failure.kind in PASSING}
        for coin in split_ids(ids)[0]:
            if coin not in document and coin not in failed and self._priceless(coin):
                # CoinGecko lists the coin and has no price of it.
                document[coin] = {}
        return ServedValue(orjson.dumps(document), where, left)

    def _zeros(self, pairs: Iterable[Pair]) -> list[Quoted]:
        now = self._prices.nothing_found()
        quoted = []
        for pair in pairs:
            entry = self._zero(pair)
            if entry is not None:
                age = max(0.0, now.as_of - entry.fetched_at)
                where = replace(now, as_of=entry.fetched_at, age_seconds=age, stale=age > self._fresh_seconds)
                quoted.append(Quoted(entry.value, where))
        return quoted

    def _of_no_currency(self, ids: Sequence[str]) -> ServedValue[bytes]:
        coins = split_ids(ids)[0]
        document: dict[str, dict[str, Any]] = {coin: {} for coin in coins if not self._unknown(coin)}
        return ServedValue(orjson.dumps(document), self._prices.nothing_found(), self._fresh_seconds)


def _raise_refusal(failures: Sequence[ItemFailure]) -> None:
    """Raise the cause of the failures where CoinGecko refused the whole request."""
    causes = [failure.cause for failure in failures if failure.cause is not None]
    if causes and len(causes) == len(failures) and all(error_reply_of(cause) for cause in causes):
        raise causes[0].with_traceback(None)


def _document(
    found: Sequence[Quoted], flags: set[str], digits: int | str | None
) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for item in found:
        rows.setdefault(item.quote.id, {}).update(_figures(item.quote, flags, digits))
    if "include_last_updated_at" in flags:
        # CoinGecko puts it last.
        for row in rows.values():
            row["last_updated_at"] = row.pop("last_updated_at", None)
    return rows


def _figures(quote: Quote, flags: set[str], digits: int | str | None) -> dict[str, Any]:
    code = quote.vs_currency
    row: dict[str, Any] = {code: spot(quote.price, code, digits)}
    if "include_market_cap" in flags:
        # Not known is 0 at CoinGecko.
        row[f"{code}_market_cap"] = quote.market_cap or 0
    if "include_24hr_vol" in flags:
        row[f"{code}_24h_vol"] = quote.volume_24h
    if "include_24hr_change" in flags:
        row[f"{code}_24h_change"] = quote.change_24h_percent
    if "include_last_updated_at" in flags and quote.last_updated_at is not None:
        row["last_updated_at"] = int(quote.last_updated_at)
    return row


def spot(price: float, currency: str, digits: int | str | None) -> float:
    """Return a spot price as CoinGecko rounds it.

    Args:
        price: The price in full.
        currency: Lower-case code; coins have more decimals than money.
        digits: `full`, a number of decimals, or None for CoinGecko's own rounding by size.
    """
    if price == 0:
        return 0
    if digits == "full":
        return price
    if isinstance(digits, int):
        return round(price, digits or None)
    if currency in COIN_CODES:
        return round(price, 6 if price >= 1 else _small_decimals(price))
    for least, decimals in MONEY_DECIMALS:
        if price >= least:
            # Without decimals CoinGecko gives a whole number, which has no `.0`.
            return round(price, decimals or None)
    return round(price, _small_decimals(price))


def _small_decimals(price: float) -> int:
    if price <= 0 or price >= LEAST_WITH_EIGHT_DECIMALS:
        return 8
    return FIGURES_BELOW - 1 - math.floor(math.log10(price))


def _precision(text: str | None) -> int | str | None:
    if text is None or text == "full":
        return text
    if text.isascii() and text.isdigit() and int(text) <= 18:
        return int(text)
    raise InvalidInput("precision must be full or 0 to 18", field="precision")
