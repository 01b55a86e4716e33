"""Cleaning of CoinGecko's three arrays into one series of points.

Whatever cannot be true is quarantined and counted. Pure functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from coincast_market_data.coingecko.error_mapping import BadData
from coincast_market_data.coingecko.parser import figure_fault, number, price_fault, time_fault

JUMP_FACTOR = 10.0
NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of one coin; `at` in UNIX seconds."""

    at: float
    price: float
    market_cap: float | None = None
    volume: float | None = None


@dataclass(slots=True)
class CleaningReport:
    """How many points were quarantined, by reason.

    Duplicates with equal prices are dropped and counted apart.
    """

    quarantined: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    unsorted: bool = False
    unequal: bool = False


def clean_series(document: Any, now: float) -> tuple[list[Point], CleaningReport]:
    """Return points in order of time, one a moment, joined on the time stamp.

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
    caps, volumes = (_side(document.get(name), findings) for name in ("market_caps", "total_volumes"))
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
        # Two prices for one moment: reject both.
        del prices[stamp]
        findings.quarantined["contradiction"] += 1
    return prices


def _side(rows: Any, findings: CleaningReport) -> dict[float, float]:
    """Return market caps or volumes by time stamp; the first of duplicates."""
    values: dict[float, float] = {}
    for row in rows if isinstance(rows, list) else ():
        stamp = _stamp(row)
        fault = "not_a_row" if stamp is None else figure_fault(row[1])
        if fault:
            findings.quarantined[fault] += 1
        elif stamp is not None and row[1] is not None:
            values.setdefault(stamp, float(row[1]))
    return values


def _stamp(row: Any) -> float | None:
    return number(row[0]) if isinstance(row, list) and len(row) == 2 else None


def drop_jumps(points: Sequence[Point]) -> list[Point]:
    """Drop points that are tenfold off every neighbour (three on each side).

    Two in a row are a move, not an error.
    """
    prices = [point.price for point in points]
    return [point for index, point in enumerate(points) if not is_jump(prices, index)]


def is_jump(prices: Sequence[float], index: int) -> bool:
    """Return whether one price is tenfold off all its neighbours, which agree among themselves.

    The newest price has neighbours on one side alone: it may be the first of a new level, as in a collapse,
    and is never treated as an error here.
    """
    if index == len(prices) - 1:
        return False
    value = prices[index]
    # Most points agree with the next one; only the others need a look at all neighbours.
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
