"""Takes out of CoinGecko's documents what cannot be true, before they are kept or passed on; counts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from coincast_market_data import metrics
from coincast_market_data.history.points import clean_series
from coincast_market_data.parse import market_fault, parse_ohlc, price_fault

SERIES_PARTS = ("prices", "market_caps", "total_volumes")
# Where documents of one coin hold a price a currency.
PRICES_BY_CURRENCY = ("current_price", "ath", "atl", "high_24h", "low_24h")
ANY_CURRENCY = "usd"
Note = Callable[[str, str, str], None]


class Cleaner:
    """`note(coin, currency, text)` remembers what was put aside."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def cleaned(self, path: str, query: Mapping[str, str], document: Any, now: float) -> Any:
        """The document without what cannot be true. `now`: UNIX seconds on the upstream's clock."""
        parts = path.split("/")
        currency = query.get("vs_currency", ANY_CURRENCY)
        if path == "coins/markets":
            return self._markets(currency, document, now)
        if path == "simple/price":
            return self._prices(document)
        if parts[0] != "coins" or parts[1:2] == ["list"]:
            return document
        if parts[2:3] == ["market_chart"]:
            return self._chart(parts[1], currency, document, now)
        if parts[2:3] == ["ohlc"]:
            return self._ohlc(parts[1], currency, document, now)
        return self._coin(parts[1], document)

    def _markets(self, currency: str, document: Any, now: float) -> Any:
        if not isinstance(document, list):
            return document
        kept = []
        for row in document:
            named = isinstance(row, dict) and isinstance(row.get("id"), str)
            fault = market_fault(row, now) if named else "not_a_row"
            if fault:
                self._aside(row["id"] if named else "", currency, "a market row", fault, 1)
            else:
                kept.append(row)
        return kept

    def _prices(self, document: Any) -> Any:
        """Prices asked for by name or symbol; those by id go through the quotes."""
        if not isinstance(document, dict):
            return document
        return {coin: self._row(coin, row) for coin, row in document.items()}

    def _row(self, coin: str, row: Any) -> Any:
        if not isinstance(row, dict):
            return {}
        return {
            name: value
            for name, value in row.items()
            if "_" in name or value is None or self._is_price(coin, name, value)
        }

    def _coin(self, coin: str, document: Any) -> Any:
        market = document.get("market_data") if isinstance(document, dict) else None
        if not isinstance(market, dict):
            return document
        cleaned = {
            name: self._by_currency(coin, values)
            if name in PRICES_BY_CURRENCY and isinstance(values, dict)
            else values
            for name, values in market.items()
        }
        return {**document, "market_data": cleaned}

    def _by_currency(self, coin: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            code: value
            for code, value in values.items()
            if value is None or self._is_price(coin, code, value)
        }

    def _is_price(self, coin: str, currency: str, value: Any) -> bool:
        fault = price_fault(value)
        if fault:
            self._aside(coin, currency, "a price", fault, 1)
        return not fault

    def _chart(self, coin: str, currency: str, document: Any, now: float) -> Any:
        points, findings = clean_series(document, now)
        for reason, count in findings.quarantined.items():
            self._aside(coin, currency, f"{count} points of a chart", reason, count)
        kept = {round(point.at * 1000) for point in points}
        return {part: _part(document.get(part), kept) for part in SERIES_PARTS}

    def _ohlc(self, coin: str, currency: str, document: Any, now: float) -> Any:
        candles, rejects = parse_ohlc(document, now)
        for reject in rejects:
            self._aside(coin, currency, "a candle", reject.reason, 1)
        return [[int(c.closed_at * 1000), c.open, c.high, c.low, c.close] for c in candles]

    def _aside(self, coin: str, currency: str, what: str, reason: str, count: int) -> None:
        metrics.QUARANTINED.labels(reason=reason).inc(count)
        self._note(coin, currency, f"{what}: {reason}")


def _part(rows: Any, kept: set[int]) -> list[Any]:
    """One array of a chart at the moments that were kept, in order, each once."""
    found: dict[int, Any] = {}
    for row in rows if isinstance(rows, list) else ():
        if (
            isinstance(row, list)
            and len(row) == 2
            and isinstance(row[0], int | float)
            and math.isfinite(row[0])
        ):
            found.setdefault(round(row[0]), row)
    return [found[moment] for moment in sorted(kept & found.keys())]
