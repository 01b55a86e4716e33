"""Parse CoinGecko's documents into domain types.

Impossible values are rejected with a reason. The three arrays of a chart become one cleaned series of points.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_market_data.coingecko.error_mapping import BadData
from coincast_market_data.domain import Coin, Market, OhlcCandle, Quote
from coincast_market_data.identifiers import Pair

# Bounds of plausible times: the first bitcoin block, and ten minutes after now.
EARLIEST = 1_230_940_800.0
FUTURE_SECONDS = 600.0

# Figures of a row of the market table beside the current price.
ROW_PRICES = ("high_24h", "low_24h", "ath", "atl")
ROW_AMOUNTS = (
    "market_cap", "fully_diluted_valuation", "total_volume",
    "circulating_supply", "total_supply", "max_supply",
)  # fmt: skip
ROW_CHANGE = "price_change_percentage_24h"
# Figures of a row of `simple/price` beside the price, after the currency.
ROW_FIGURES = ("market_cap", "24h_vol", "24h_change")


@dataclass(frozen=True, slots=True)
class Reject:
    """An item that was rejected, and why."""

    id: str
    reason: str


def number(value: Any) -> float | None:
    """Return a value as a finite float; None if it is absent, not a number, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def amount(value: Any) -> float | None:
    """Return a value as a finite float that is not negative, or None."""
    result = number(value)
    return result if result is not None and result >= 0 else None


def price_fault(value: Any) -> str:
    """Return why a value cannot be a price; empty if it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not_finite"
    result = number(value)
    if result is None:
        return "not_a_number"
    return "" if result > 0 else "not_positive"


def figure_fault(value: Any, *, signed: bool = False) -> str:
    """Return why a value cannot be a figure beside a price; empty if it can, or is absent.

    Args:
        value: A value of the document.
        signed: Whether it may be negative.
    """
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "figure_not_finite"
    result = number(value)
    if result is None:
        return "figure_not_a_number"
    return "figure_negative" if result < 0 and not signed else ""


def time_fault(value: float, now: float) -> str:
    """Return why a time cannot be that of a trade; empty if it can.

    Args:
        value: A time of the document, UNIX seconds.
        now: The upstream's time, UNIX seconds.
    """
    if not math.isfinite(value):
        return "absurd_clock"
    return "" if EARLIEST <= value <= now + FUTURE_SECONDS else "absurd_clock"


def parse_quotes(
    document: Any, ids: Iterable[str], currencies: Iterable[str], now: float
) -> tuple[dict[Pair, Quote | None], dict[Pair, Reject]]:
    """Parse the quotes of all requested pairs.

    Every pair is in one of the two results: the quote (None if the upstream has no price), or the rejection.

    Args:
        document: A reply of `simple/price`.
        ids: The requested coins.
        currencies: The requested currencies.
        now: The upstream's time, UNIX seconds.

    Raises:
        BadData: The document is not an object.
    """
    if not isinstance(document, dict):
        raise BadData("CoinGecko's prices are not an object")
    good: dict[Pair, Quote | None] = {}
    bad: dict[Pair, Reject] = {}
    currency_list = list(currencies)
    for coin in ids:
        row = document.get(coin)
        for currency in currency_list:
            found = _quote(coin, currency, row, now)
            if isinstance(found, Reject):
                bad[coin, currency] = found
            else:
                good[coin, currency] = found
    return good, bad


def _quote(coin: str, currency: str, row: Any, now: float) -> Quote | Reject | None:
    if row is None:
        return None
    if not isinstance(row, dict):
        return Reject(coin, "not_a_number")
    value = row.get(currency)
    if value is None:
        return None
    updated = row.get("last_updated_at")
    seen = number(updated)
    fault = price_fault(value) or (time_fault(seen, now) if seen is not None else "")
    if fault:
        return Reject(coin, fault)
    return Quote(
        id=coin,
        vs_currency=currency,
        price=float(value),
        # CoinGecko writes 0 for an unknown supply.
        market_cap=amount(row.get(f"{currency}_market_cap")) or None,
        volume_24h=amount(row.get(f"{currency}_24h_vol")),
        change_24h_percent=number(row.get(f"{currency}_24h_change")),
        last_updated_at=seen,
    )


def incomplete_row_of(pair: Pair, row: Any) -> dict[str, float | None] | None:
    """Return the figures of a row of `simple/price` that lacks some, to be passed through.

    The mirror must repeat which figures of such a row are null, 0 or absent.

    Args:
        pair: The coin and the currency.
        row: The coin's part of the reply.

    Returns:
        The valid figures by name; None if the row has all figures, or is not an object.
    """
    if not isinstance(row, dict):
        return None
    _, currency = pair
    names = [currency, *(f"{currency}_{figure}" for figure in ROW_FIGURES), "last_updated_at"]
    if number(row.get(currency)) and all(row.get(name) is not None for name in names):
        return None
    return {name: row[name] for name in names if name in row and _can_be_passed_on(name, row[name])}


def _can_be_passed_on(name: str, value: Any) -> bool:
    figure = number(value)
    return value is None or (figure is not None and (figure >= 0 or name.endswith("_change")))


def quote_figure_faults(
    document: Mapping[str, Any], pairs: Iterable[Pair]
) -> Iterator[tuple[Pair, str, str]]:
    """Yield (pair, name of the figure, fault) for each impossible figure beside the prices of these pairs."""
    for coin, currency in pairs:
        row = document.get(coin)
        for name, signed in (("market_cap", False), ("24h_vol", False), ("24h_change", True)):
            value = row.get(f"{currency}_{name}") if isinstance(row, dict) else None
            if fault := figure_fault(value, signed=signed):
                yield (coin, currency), name, fault


def parse_coins(document: Any) -> tuple[Coin, ...]:
    """Parse the catalogue; rows without an id are left out.

    Raises:
        BadData: The document is not a list.
    """
    if not isinstance(document, list):
        raise BadData("CoinGecko's list of coins is not a list")
    return tuple(
        Coin(row["id"], str(row.get("symbol") or ""), str(row.get("name") or ""))
        for row in document
        if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]
    )


def parse_currencies(document: Any) -> tuple[str, ...]:
    """Return the currency codes in lower case.

    Raises:
        BadData: The document is not a list.
    """
    if not isinstance(document, list) or not document:
        raise BadData("CoinGecko's list of currencies is not a list")
    return tuple(sorted({code.lower() for code in document if isinstance(code, str)}))


def parse_markets(document: Any, currency: str, now: float) -> tuple[tuple[Market, ...], list[Reject]]:
    """Parse the rows in the upstream's order; a row with an impossible price is rejected.

    Args:
        document: A reply of `coins/markets`.
        currency: The currency of its prices.
        now: The upstream's time, UNIX seconds.

    Raises:
        BadData: The document is not a list.
    """
    if not isinstance(document, list):
        raise BadData("CoinGecko's markets are not a list")
    good: list[Market] = []
    bad: list[Reject] = []
    for row in document:
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            bad.append(Reject("", "not_a_row"))
            continue
        fault = market_fault(row, now)
        if fault:
            bad.append(Reject(row["id"], fault))
        else:
            good.append(_market(row, currency))
    return tuple(good), bad


def market_fault(row: Mapping[str, Any], now: float) -> str:
    """Return why price or time of a row of the market table are impossible; empty if they are not."""
    value, seen = row.get("current_price"), parse_time(row.get("last_updated"))
    if value is None:
        return ""
    return price_fault(value) or (time_fault(seen, now) if seen is not None else "")


def market_figure_faults(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (name of the figure, fault) for each impossible figure beside the price of a row."""
    faults = [
        *((name, price_fault(row[name])) for name in ROW_PRICES if row.get(name) is not None),
        *((name, figure_fault(row.get(name))) for name in ROW_AMOUNTS),
        (ROW_CHANGE, figure_fault(row.get(ROW_CHANGE), signed=True)),
    ]
    return [(name, fault) for name, fault in faults if fault]


def _market(row: Mapping[str, Any], currency: str) -> Market:
    rank = number(row.get("market_cap_rank"))
    return Market(
        id=row["id"],
        symbol=str(row.get("symbol") or ""),
        name=str(row.get("name") or ""),
        vs_currency=currency,
        price=number(row.get("current_price")),
        market_cap=amount(row.get("market_cap")) or None,
        market_cap_rank=int(rank) if rank is not None and 0 < rank < 2**31 else None,
        volume_24h=amount(row.get("total_volume")),
        high_24h=amount(row.get("high_24h")) or None,
        low_24h=amount(row.get("low_24h")) or None,
        change_24h_percent=number(row.get(ROW_CHANGE)),
        circulating_supply_coins=amount(row.get("circulating_supply")),
        total_supply_coins=amount(row.get("total_supply")),
        max_supply_coins=amount(row.get("max_supply")),
        all_time_high=amount(row.get("ath")) or None,
        last_updated_at=parse_time(row.get("last_updated")),
    )


def parse_time(value: Any) -> float | None:
    """Return the UNIX seconds of an ISO 8601 text, or None."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_ohlc(document: Any, now: float) -> tuple[tuple[OhlcCandle, ...], list[Reject]]:
    """Parse candles, sorted by closing time; impossible and repeated ones are rejected.

    Args:
        document: A reply of `ohlc`.
        now: The upstream's time, UNIX seconds.

    Raises:
        BadData: The document is not a list.
    """
    if not isinstance(document, list):
        raise BadData("CoinGecko's ohlc is not a list")
    good: dict[float, OhlcCandle] = {}
    bad: list[Reject] = []
    for row in document:
        candle = _ohlc(row, now)
        if isinstance(candle, Reject):
            bad.append(candle)
        elif candle.closed_at in good:
            bad.append(Reject("", "duplicate_time"))
        else:
            good[candle.closed_at] = candle
    return tuple(good[moment] for moment in sorted(good)), bad


def _ohlc(row: Any, now: float) -> OhlcCandle | Reject:
    if not isinstance(row, list) or len(row) != 5:
        return Reject("", "not_a_row")
    stamp = number(row[0])
    # The time of the candle that is still open is its future close, up to four days from now.
    fault = "absurd_clock" if stamp is None else time_fault(stamp / 1000, now + 4 * 86_400)
    fault = fault or next((fault for value in row[1:] if (fault := price_fault(value))), "")
    if fault or stamp is None:
        return Reject("", fault)
    opened, high, low, close = (float(value) for value in row[1:])
    if not low <= min(opened, close) <= max(opened, close) <= high:
        return Reject("", "range_contradicts")
    return OhlcCandle(stamp / 1000, opened, high, low, close)


# A point is a jump if its price differs from all neighbours (three on each side) by at least this factor.
JUMP_FACTOR = 10.0
NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a series; `at` in UNIX seconds."""

    at: float
    price: float
    market_cap: float | None = None
    volume: float | None = None


@dataclass(slots=True)
class CleaningReport:
    """Findings in a series: quarantined points by reason, and defects of its form.

    Duplicates with equal prices are dropped and counted separately.
    """

    quarantined: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    unsorted: bool = False
    unequal: bool = False


def clean_series(document: Any, now: float) -> tuple[list[Point], CleaningReport]:
    """Join the arrays of a chart by time, and return the valid points in order, one for each time.

    Args:
        document: A reply of `market_chart`.
        now: The upstream's time, UNIX seconds.

    Raises:
        BadData: The document is not a series.
    """
    if not isinstance(document, dict) or not isinstance(document.get("prices"), list):
        raise BadData("CoinGecko's series has no prices")
    findings = CleaningReport()
    prices = _prices(document["prices"], now, findings)
    caps, volumes = (_amounts(document.get(name), findings) for name in ("market_caps", "total_volumes"))
    findings.unequal = (
        not len(document["prices"]) == _length(document, "market_caps") == _length(document, "total_volumes")
    )
    points = [Point(at / 1000, prices[at], caps.get(at) or None, volumes.get(at)) for at in sorted(prices)]
    kept = drop_jumps(points)
    if len(kept) < len(points):
        findings.quarantined["jump"] += len(points) - len(kept)
    return kept, findings


def _length(document: Mapping[str, Any], name: str) -> int:
    values = document.get(name)
    return len(values) if isinstance(values, list) else 0


def _prices(rows: Sequence[Any], now: float, findings: CleaningReport) -> dict[float, float]:
    """Return prices by time stamp; rows that cannot be true are counted and left out."""
    faultless = _faultless_columns(rows)
    if faultless is not None:
        stamps, values = faultless
        in_time = stamps[0] / 1000 >= EARLIEST and stamps[-1] / 1000 <= now + FUTURE_SECONDS
        if in_time and np.isfinite(values).all() and values.min() > 0:
            return dict(zip(stamps.tolist(), values.tolist(), strict=True))
    prices: dict[float, float] = {}
    contradicted: set[float] = set()
    before = 0.0
    for row in rows:
        stamp = _stamp(row)
        fault = "not_a_row" if stamp is None else time_fault(stamp / 1000, now) or price_fault(row[1])
        if fault or stamp is None:
            findings.quarantined[fault] += 1
            continue
        findings.unsorted |= stamp < before
        before = stamp
        if stamp in prices:
            findings.duplicates += 1
            if prices[stamp] != row[1]:
                contradicted.add(stamp)
        prices.setdefault(stamp, float(row[1]))
    for stamp in contradicted:
        # A time with two different prices: neither can be trusted.
        del prices[stamp]
        findings.quarantined["contradiction"] += 1
    return prices


def _amounts(rows: Any, findings: CleaningReport) -> dict[float, float]:
    """Return market caps or volumes by time in milliseconds; of duplicates the first."""
    faultless = _faultless_columns(rows)
    if faultless is not None:
        stamps, figures = faultless
        if np.isfinite(figures).all() and figures.min() >= 0:
            return dict(zip(stamps.tolist(), figures.tolist(), strict=True))
    values: dict[float, float] = {}
    for row in rows if isinstance(rows, list) else ():
        stamp = _stamp(row)
        fault = "not_a_row" if stamp is None else figure_fault(row[1])
        if fault:
            findings.quarantined[fault] += 1
        elif stamp is not None and row[1] is not None:
            values.setdefault(stamp, float(row[1]))
    return values


def _faultless_columns(rows: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return time stamps (n,), increasing, and values (n,) of rows that are pairs of numbers; else None.

    Nearly every series passes, in a tenth of the time that a check of row after row takes. Any other series
    is checked row by row, which counts each fault by its reason.
    """
    if not isinstance(rows, list) or set(map(type, rows)) != {list} or set(map(len, rows)) != {2}:
        return None
    stamps, values = zip(*rows, strict=True)
    if not {int, float}.issuperset(map(type, (*stamps, *values))):
        return None
    try:
        times = np.array(stamps, dtype=np.float64)
        columns = times, np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    return columns if np.isfinite(times).all() and (np.diff(times) > 0).all() else None


def _stamp(row: Any) -> float | None:
    return number(row[0]) if isinstance(row, list) and len(row) == 2 else None


def drop_jumps(points: Sequence[Point]) -> list[Point]:
    """Drop points whose price differs at least tenfold from all neighbours (three on each side).

    Two such points in a row stay: they are assumed to be a real move.
    """
    prices = [point.price for point in points]
    former, following = np.array(prices[:-1]), np.array(prices[1:])
    if ((former < following * JUMP_FACTOR) & (following < former * JUMP_FACTOR)).all():
        return list(points)
    return [point for index, point in enumerate(points) if not is_jump(prices, index)]


def is_jump(prices: Sequence[float], index: int) -> bool:
    """Return whether a price differs at least tenfold from all its neighbours, which agree with one another.

    The newest price is never a jump: it has neighbours on one side only, and may be the first of a new level,
    as in a collapse.

    Args:
        prices: The series.
        index: The position of the price.
    """
    if index == len(prices) - 1:
        return False
    value = prices[index]
    # Most points agree with the next one, which saves the comparison with all neighbours.
    following = prices[index + 1]
    if value < following * JUMP_FACTOR and following < value * JUMP_FACTOR:
        return False
    around = [*prices[max(0, index - NEIGHBOURS) : index], *prices[index + 1 : index + 1 + NEIGHBOURS]]
    if len(around) < 2:
        return False
    off = all(value >= other * JUMP_FACTOR or other >= value * JUMP_FACTOR for other in around)
    # The price is wrong only if its neighbours agree with one another.
    middle = median(around)
    return off and all(other < middle * JUMP_FACTOR and middle < other * JUMP_FACTOR for other in around)
