"""Answers the mirror's `simple/price` from cached quotes, sharing batches and cache with the API."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson

from coincast_chassis.errors import InvalidInput
from coincast_market_data.cache.read_through import ServedValue
from coincast_market_data.cache.two_level import CacheEntry
from coincast_market_data.coingecko.error_mapping import error_reply_of
from coincast_market_data.domain import ItemFailure, Provenance, Quote
from coincast_market_data.identifiers import MAX_CURRENCIES, Pair, split_ids
from coincast_market_data.item_errors import TRANSIENT_KINDS, raise_if_all_transient
from coincast_market_data.ports import CoinDirectory
from coincast_market_data.prices.fetcher import IncompleteRow
from coincast_market_data.prices.service import PriceService, worst

# CoinGecko's rounding without `precision`, as found in recorded replies: (lowest price, decimals).
MONEY_DECIMALS = ((10_000.0, 0), (1.1, 2), (1.0, 3), (0.1, 6))
LEAST_WITH_EIGHT_DECIMALS = 1e-6
FIGURES_BELOW = 8
COIN_CODES = frozenset(["btc", "eth", "ltc", "bch", "bnb", "eos", "xrp", "xlm", "link", "dot", "yfi", "sol"])
# The figure that each parameter adds.
FLAGS = {
    "include_market_cap": "{code}_market_cap",
    "include_24hr_vol": "{code}_24h_vol",
    "include_24hr_change": "{code}_24h_change",
    "include_last_updated_at": "last_updated_at",
}


def answerable(query: Mapping[str, str]) -> bool:
    """Return whether cached quotes can answer: if the query has ids, names and symbols are ignored."""
    return bool(query.get("ids")) and bool(query.get("vs_currencies"))


class UnusableRows(Protocol):
    """CoinGecko's latest rows without a usable price, which the mirror repeats."""

    def is_priceless(self, coin: str) -> bool:
        """Return whether the row of a coin was empty."""
        ...

    def incomplete_row(self, pair: Pair) -> CacheEntry[IncompleteRow] | None:
        """Return the row of a pair if it lacked a figure or its price was 0; otherwise None."""
        ...


class SimplePriceService:
    """Answers `simple/price` as CoinGecko does, which leaves out unknown ids and currencies.

    Args:
        prices: Serves the prices.
        fresh_seconds: How long a price is fresh.
        directory: The coins and currencies that CoinGecko lists.
        unusable: CoinGecko's rows that hold no usable price.
    """

    def __init__(
        self,
        prices: PriceService,
        *,
        fresh_seconds: float,
        directory: CoinDirectory,
        unusable: UnusableRows,
    ) -> None:
        self._prices = prices
        self._fresh_seconds = fresh_seconds
        self._directory = directory
        self._unusable = unusable

    def provenance_of_now(self) -> Provenance:
        """Return the provenance of a reply without figures: its time is now."""
        return self._prices.nothing_found()

    async def get(self, query: Mapping[str, str], max_age_seconds: float | None = None) -> ServedValue[bytes]:
        """Return the JSON document.

        Args:
            query: The parameters, with `ids` and `vs_currencies`.
            max_age_seconds: The maximum accepted age; None for any.

        Raises:
            InvalidInput: The precision is not valid.
            CoincastError: CoinGecko refused the request, or no price can be served and a retry may help.
        """
        digits = _precision(query.get("precision"))
        ids = query["ids"].split(",")
        codes = await self._directory.quoted(query["vs_currencies"].split(","))
        if not codes:
            return self._without_currencies(ids)
        parts = [codes[start : start + MAX_CURRENCIES] for start in range(0, len(codes), MAX_CURRENCIES)]
        answers = await asyncio.gather(*(self._prices.get(ids, part, max_age_seconds) for part in parts))
        found = [item for answer in answers for item in answer.prices]
        failures = [failure for answer in answers for failure in answer.failures]
        pairs = list(itertools.product(split_ids(ids)[0], codes))
        priced = {(item.quote.id, item.quote.vs_currency): item for item in found}
        rows = {pair: entry for pair in pairs if (entry := self._unusable.incomplete_row(pair)) is not None}
        # Prices of 0 and null were quarantined, but the mirror repeats them as CoinGecko sends them.
        passed_on = {
            pair: self._provenance(entry)
            for pair, entry in rows.items()
            if pair not in priced and not entry.value.get(pair[1])
        }
        coins = {coin for coin, _ in passed_on}
        failures = [failure for failure in failures if failure.id not in coins]
        if not found and not passed_on:
            _raise_refusal(failures)
            raise_if_all_transient(failures)
        known = [*(item.provenance for item in found), *passed_on.values()]
        provenance = worst(known) or self._prices.nothing_found()
        flags = {flag for flag in FLAGS if query.get(flag, "").lower() == "true"}
        left = 0.0 if provenance.stale else max(0.0, self._fresh_seconds - provenance.age_seconds)
        document: dict[str, dict[str, Any]] = {}
        for pair in pairs:
            row = rows[pair].value if pair in rows else None
            if pair in priced:
                figures = _figures(priced[pair].quote, row, flags, digits)
            elif pair in passed_on and row is not None:
                figures = {name: value for name, value in row.items() if name in _names(pair[1], flags)}
            else:
                continue
            document.setdefault(pair[0], {}).update(figures)
        if "include_last_updated_at" in flags:
            # CoinGecko writes this field last.
            for shown in document.values():
                if "last_updated_at" in shown:
                    shown["last_updated_at"] = shown.pop("last_updated_at")
        failed = {failure.id for failure in failures if failure.kind in TRANSIENT_KINDS}
        for coin in split_ids(ids)[0]:
            if coin not in document and coin not in failed and self._unusable.is_priceless(coin):
                # CoinGecko sends an empty object for a coin that it lists without a price.
                document[coin] = {}
        return ServedValue(orjson.dumps(document), provenance, left)

    def _provenance(self, entry: CacheEntry[IncompleteRow]) -> Provenance:
        """Return the provenance of a row without a price."""
        now = self._prices.nothing_found()
        age = max(0.0, now.as_of - entry.fetched_at)
        return replace(now, as_of=entry.fetched_at, age_seconds=age, stale=age > self._fresh_seconds)

    def _without_currencies(self, ids: Sequence[str]) -> ServedValue[bytes]:
        coins = split_ids(ids)[0]
        found = (coin for coin in coins if not self._directory.is_certainly_unknown(coin))
        document: dict[str, dict[str, Any]] = {coin: {} for coin in found}
        return ServedValue(orjson.dumps(document), self._prices.nothing_found(), self._fresh_seconds)


def _raise_refusal(failures: Sequence[ItemFailure]) -> None:
    """Raise the common cause of all failures if CoinGecko refused the whole request."""
    causes = [failure.cause for failure in failures if failure.cause is not None]
    if causes and len(causes) == len(failures) and all(error_reply_of(cause) for cause in causes):
        raise causes[0].with_traceback(None)


def _names(code: str, flags: set[str]) -> set[str]:
    """Return the names of the requested figures in a currency, price included."""
    return {code} | {name.format(code=code) for flag, name in FLAGS.items() if flag in flags}


def _figures(
    quote: Quote, row: IncompleteRow | None, flags: set[str], digits: int | str | None
) -> dict[str, Any]:
    """Return the figures of one coin in one currency.

    Args:
        quote: The quote.
        row: CoinGecko's row if it lacks a figure; figures that it lacks are left out here, too.
        flags: The figures that are requested beside the price.
        digits: `full`, a number of decimals, or None for CoinGecko's own rounding by size.
    """
    code = quote.vs_currency
    figures: dict[str, Any] = {
        code: spot(quote.price, code, digits),
        # CoinGecko writes 0 for an unknown market cap.
        f"{code}_market_cap": quote.market_cap or 0,
        f"{code}_24h_vol": quote.volume_24h,
        f"{code}_24h_change": quote.change_24h_percent,
        "last_updated_at": None if quote.last_updated_at is None else int(quote.last_updated_at),
    }
    wanted = {name: value for name, value in figures.items() if name in _names(code, flags)}
    if row is None or row.get(code) != quote.price:
        # The row is complete, or its price was rejected and an older price is served with its own figures.
        return wanted
    return {name: value if row[name] is not None else None for name, value in wanted.items() if name in row}


def spot(price: float, currency: str, digits: int | str | None) -> float:
    """Return a spot price as CoinGecko rounds it.

    Args:
        price: The exact price.
        currency: The code in lower case; prices in coins have more decimals than prices in money.
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
            # Without decimals CoinGecko writes an integer, without `.0`.
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
