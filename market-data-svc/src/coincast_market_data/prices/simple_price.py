"""`simple/price` in CoinGecko's shape out of the quotes at hand, so that mirrored calls share batches and
cache.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from coincast_chassis.errors import InvalidInput
from coincast_market_data.cache.read_through import ServedValue
from coincast_market_data.domain import Quote, Quoted
from coincast_market_data.identifiers import MAX_CURRENCIES, split_ids
from coincast_market_data.item_errors import raise_if_all_failed
from coincast_market_data.prices.service import PriceService, worst

FLAGS = ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at")


def answerable(query: Mapping[str, str]) -> bool:
    """Whether quotes can answer: by ids, beside which CoinGecko passes over names and symbols."""
    return bool(query.get("ids")) and bool(query.get("vs_currencies"))


class SimplePriceService:
    """Answers as CoinGecko does: an unknown id or currency is left out, however many are asked for."""

    def __init__(
        self,
        prices: PriceService,
        *,
        fresh_seconds: float,
        quoted: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        unknown: Callable[[str], bool],
    ) -> None:
        self._prices = prices
        self._fresh_seconds = fresh_seconds
        self._quoted = quoted
        self._unknown = unknown

    async def get(self, query: Mapping[str, str], max_age_seconds: float | None = None) -> ServedValue[bytes]:
        """The document."""
        digits = _precision(query.get("precision"))
        ids = query["ids"].split(",")
        codes = await self._quoted(query["vs_currencies"].split(","))
        if not codes:
            return self._of_no_currency(ids)
        parts = [codes[start : start + MAX_CURRENCIES] for start in range(0, len(codes), MAX_CURRENCIES)]
        answers = await asyncio.gather(*(self._prices.get(ids, part, max_age_seconds) for part in parts))
        found = [item for answer in answers for item in answer.prices]
        raise_if_all_failed([failure for answer in answers for failure in answer.failures], len(found))
        where = worst(item.provenance for item in found) or self._prices.nothing_found()
        flags = {flag for flag in FLAGS if query.get(flag, "").lower() == "true"}
        left = 0.0 if where.stale else max(0.0, self._fresh_seconds - where.age_seconds)
        return ServedValue(orjson.dumps(_document(found, flags, digits)), where, left)

    def _of_no_currency(self, ids: Sequence[str]) -> ServedValue[bytes]:
        coins = split_ids(ids)[0]
        document: dict[str, dict[str, Any]] = {coin: {} for coin in coins if not self._unknown(coin)}
        return ServedValue(orjson.dumps(document), self._prices.nothing_found(), self._fresh_seconds)


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
    row: dict[str, Any] = {code: spot(quote.price, digits)}
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


def spot(price: float, digits: int | str | None) -> float:
    """A price with so many decimals; unasked, two from 1 on and six figures below."""
    if digits == "full":
        return price
    if isinstance(digits, int):
        return round(price, digits)
    return round(price, 2) if price >= 1 else round(price, 5 - math.floor(math.log10(price)))


def _precision(text: str | None) -> int | str | None:
    if text is None or text == "full":
        return text
    if text.isascii() and text.isdigit() and int(text) <= 18:
        return int(text)
    raise InvalidInput("precision must be full or 0 to 18", field="precision")
