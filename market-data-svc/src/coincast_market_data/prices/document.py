"""`simple/price` in CoinGecko's shape out of the quotes at hand, so that mirrored calls share batches and
cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from coincast_chassis.errors import InvalidInput
from coincast_market_data.cache.read_through import Answer
from coincast_market_data.domain import Prices, Quote
from coincast_market_data.failures import raise_if_all_failed
from coincast_market_data.prices.service import PriceService, worst

FLAGS = ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at")
KNOWN = {"ids", "vs_currencies", "precision", *FLAGS}


def answerable(query: Mapping[str, str]) -> bool:
    """Whether quotes can answer: by ids, and with no parameter that quotes know nothing of."""
    return bool(query.get("ids")) and bool(query.get("vs_currencies")) and KNOWN.issuperset(query)


async def simple_price(
    prices: PriceService, query: Mapping[str, str], fresh_seconds: float, max_age_seconds: float | None = None
) -> Answer[bytes]:
    """The document; an unknown id is absent, as at CoinGecko."""
    digits = _precision(query.get("precision"))
    found = await prices.get(query["ids"].split(","), query["vs_currencies"].split(","), max_age_seconds)
    raise_if_all_failed(found.failures, len(found.prices))
    where = worst(item.provenance for item in found.prices) or prices.nothing_found()
    flags = {flag for flag in FLAGS if query.get(flag, "").lower() == "true"}
    left = 0.0 if where.stale else max(0.0, fresh_seconds - where.age_seconds)
    return Answer(orjson.dumps(_document(found, flags, digits)), where, left)


def _document(found: Prices, flags: set[str], digits: int | str | None) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for item in found.prices:
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
