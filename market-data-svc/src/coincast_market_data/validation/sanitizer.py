"""Remove and count implausible figures in CoinGecko's documents before they are stored or served."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from coincast_market_data import metrics
from coincast_market_data.coingecko.parser import (
    clean_series,
    figure_fault,
    is_jump,
    market_fault,
    market_figure_faults,
    number,
    parse_ohlc,
    price_fault,
    time_fault,
)
from coincast_market_data.identifiers import Pair

SERIES_PARTS = ("prices", "market_caps", "total_volumes")
# Fields of the document of a coin that have a price for each currency.
PRICES_BY_CURRENCY = ("current_price", "ath", "atl", "high_24h", "low_24h")
ANY_CURRENCY = "usd"
Note = Callable[[str, str, str], None]
Plausible = Callable[[Pair, float], bool]


class PayloadSanitizer:
    """Removes implausible figures from CoinGecko's documents.

    Args:
        note: Records (coin, currency, text) about quarantined figures.
        plausible: Returns whether the spot price of a pair is plausible.
    """

    def __init__(self, note: Note, plausible: Plausible = lambda _pair, _price: True) -> None:
        self._note = note
        self._plausible = plausible

    def sanitize(self, path: str, query: Mapping[str, str], document: Any, now: float) -> Any:
        """Return the document without implausible figures.

        Args:
            path: The path of the document below /api/v3.
            query: Its parameters.
            document: The parsed reply.
            now: The upstream's time, UNIX seconds.
        """
        parts = path.split("/")
        currency = query.get("vs_currency", ANY_CURRENCY)
        if path == "coins/markets":
            return self._markets(currency, document, now)
        if path == "simple/price":
            return self._prices(document)
        if parts[0] != "coins" or parts[1:2] in (["list"], ["categories"]):
            return document
        return self._of_coin(parts, currency, document, now)

    def _of_coin(self, parts: list[str], currency: str, document: Any, now: float) -> Any:
        if "market_chart" in parts:
            # A chart by contract address has no coin id, so notes name the address.
            coin = parts[3] if parts[2] == "contract" else parts[1]
            return self._chart(coin, currency, document, now)
        if parts[2:3] == ["ohlc"]:
            return self._ohlc(parts[1], currency, document, now)
        # Only the document of a coin has a current price; that of a past day or a contract is not compared.
        return self._coin(parts[1], document, spot=len(parts) == 2)

    def _markets(self, currency: str, document: Any, now: float) -> Any:
        if not isinstance(document, list):
            return document
        kept = []
        for row in document:
            named = isinstance(row, dict) and _named(row)
            fault = market_fault(row, now) if named else "not_a_row"
            if fault == "not_positive" and row["current_price"] == 0:
                # CoinGecko sends 0 for a coin that is no longer traded.
                fault = ""
            elif not fault and row.get("current_price") is not None:
                fault = self._jump(row["id"], currency, row["current_price"])
            if fault:
                self._quarantine(row["id"] if named else "", currency, "a market row", fault, 1)
            else:
                kept.append(self._market_row(currency, row))
        return kept

    def _market_row(self, currency: str, row: dict[str, Any]) -> Any:
        # 0 is valid here, as in the lowest price of a coin that was once worth nothing.
        faults = {name: fault for name, fault in market_figure_faults(row) if row.get(name) != 0}
        for name, fault in faults.items():
            self._quarantine(row["id"], currency, name, fault, 1)
        return self._finite(
            row["id"], currency, {name: None if name in faults else v for name, v in row.items()}
        )

    def _finite(self, coin: str, currency: str, value: Any) -> Any:
        """Replace every number that is not finite by None, at any depth, since JSON cannot express it."""
        if isinstance(value, dict):
            return {name: self._finite(coin, currency, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._finite(coin, currency, inner) for inner in value]
        if isinstance(value, float) and not math.isfinite(value):
            self._quarantine(coin, currency, "a figure", "figure_not_finite", 1)
            return None
        return value

    def _prices(self, document: Any) -> Any:
        """Remove implausible figures of prices by name or symbol; prices by id are served from quotes."""
        if not isinstance(document, dict):
            return document
        return {coin: self._row(coin, row) for coin, row in document.items()}

    def _row(self, coin: str, row: Any) -> Any:
        if not isinstance(row, dict):
            return {}
        return {
            name: value for name, value in row.items() if value is None or self._is_figure(coin, name, value)
        }

    def _is_figure(self, coin: str, name: str, value: Any) -> bool:
        currency, _, figure = name.partition("_")
        if not figure:
            return self._is_price(coin, name, value, spot=True)
        fault = figure_fault(value, signed=figure.endswith("change"))
        if fault:
            self._quarantine(coin, currency, figure, fault, 1)
        return not fault

    def _coin(self, coin: str, document: Any, *, spot: bool) -> Any:
        market = document.get("market_data") if isinstance(document, dict) else None
        if not isinstance(market, dict):
            return document
        cleaned = {
            name: self._by_currency(coin, values, spot=spot and name == "current_price")
            if name in PRICES_BY_CURRENCY and isinstance(values, dict)
            else self._finite(coin, ANY_CURRENCY, values)
            for name, values in market.items()
        }
        return {**document, "market_data": cleaned}

    def _by_currency(self, coin: str, values: Mapping[str, Any], *, spot: bool) -> dict[str, Any]:
        return {
            code: value
            for code, value in values.items()
            if value is None or self._is_price(coin, code, value, spot=spot)
        }

    def _is_price(self, coin: str, currency: str, value: Any, *, spot: bool) -> bool:
        if number(value) == 0:
            return True
        fault = price_fault(value) or (self._jump(coin, currency, value) if spot else "")
        if fault:
            self._quarantine(coin, currency, "a price", fault, 1)
        return not fault

    def _jump(self, coin: str, currency: str, price: float) -> str:
        return "" if self._plausible((coin, currency), float(price)) else "jump"

    def _chart(self, coin: str, currency: str, document: Any, now: float) -> Any:
        points, findings = clean_series(document, now)
        for reason, count in findings.quarantined.items():
            self._quarantine(coin, currency, f"{count} points of a chart", reason, count)
        kept = {round(point.at * 1000) for point in points} | _without_price(document["prices"], now)
        # Implausible figures beside a price were counted above; here they become null.
        return {
            name: _part(value, kept) if name in SERIES_PARTS and isinstance(value, list) else value
            for name, value in document.items()
        }

    def _ohlc(self, coin: str, currency: str, document: Any, now: float) -> Any:
        candles, rejects = parse_ohlc(document, now)
        for reject in rejects:
            self._quarantine(coin, currency, "a candle", reject.reason, 1)
        columns = [[getattr(candle, name) for candle in candles] for name in ("open", "high", "low", "close")]
        kept = [c for i, c in enumerate(candles) if not any(is_jump(column, i) for column in columns)]
        if len(kept) < len(candles):
            self._quarantine(coin, currency, "a candle", "jump", len(candles) - len(kept))
        return [[int(c.closed_at * 1000), c.open, c.high, c.low, c.close] for c in kept]

    def _quarantine(self, coin: str, currency: str, what: str, reason: str, count: int) -> None:
        metrics.QUARANTINED.labels(reason=reason).inc(count)
        self._note(coin, currency, f"{what}: {reason}")


def spot_prices(path: str, query: Mapping[str, str], document: Any) -> Iterator[Pair]:
    """Yield the pairs whose current price a document has.

    Args:
        path: The path of the document below /api/v3.
        query: Its parameters.
        document: The parsed reply.
    """
    currency = query.get("vs_currency", ANY_CURRENCY)
    if path == "coins/markets" and isinstance(document, list):
        yield from ((row["id"], currency) for row in document if isinstance(row, dict) and _named(row))
    elif path == "simple/price" and isinstance(document, dict):
        rows = ((coin, row) for coin, row in document.items() if isinstance(row, dict))
        yield from ((coin, code) for coin, row in rows for code in row if "_" not in code)
    elif path.startswith("coins/") and path.count("/") == 1 and isinstance(document, dict):
        market = document.get("market_data")
        prices = market.get("current_price") if isinstance(market, dict) else None
        yield from ((path[len("coins/") :], code) for code in prices or () if isinstance(prices, dict))


def _named(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("id"), str)


def series_prices(path: str, document: Any) -> list[tuple[float, float]]:
    """Return (UNIX seconds, price) of a sanitised chart or `ohlc`, in order of time."""
    if path.endswith("/ohlc"):
        # The time of a candle is its close. One second less, so that midnight belongs to the day that it
        # ends.
        return [(row[0] / 1000 - 1, row[4]) for row in document]
    return [(row[0] / 1000, row[1]) for row in document["prices"] if row[1]]


def _without_price(rows: Any, now: float) -> set[int]:
    """Return the times, in milliseconds, at which CoinGecko sends a price of null or 0."""
    return {
        round(row[0])
        for row in rows
        if isinstance(row, list)
        and len(row) == 2
        and (stamp := number(row[0])) is not None
        and not time_fault(stamp / 1000, now)
        and (row[1] is None or number(row[1]) == 0)
    }


def _part(rows: Any, kept: set[int]) -> list[Any]:
    """Return one array of a chart at the given times, in order and without duplicates.

    CoinGecko rounds the time of the newest point to seconds, so it may lie before the previous point. If no
    other point is out of order, the order is left as it is.

    Args:
        rows: The array of [milliseconds, value].
        kept: The times to keep, in milliseconds.
    """
    found: dict[int, Any] = {}
    for row in rows if isinstance(rows, list) else ():
        if (
            isinstance(row, list)
            and len(row) == 2
            and isinstance(row[0], int | float)
            and math.isfinite(row[0])
        ):
            found.setdefault(round(row[0]), [row[0], None] if figure_fault(row[1]) else row)
    moments = [moment for moment in found if moment in kept]
    if moments[:-1] != sorted(moments[:-1]):
        moments.sort()
    return [found[moment] for moment in moments]
