"""Checks rows of candles from outside; says what is wrong with each that is not taken. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from coincast_market_data.coingecko.parser import EARLIEST
from coincast_market_data.domain import Candle
from coincast_market_data.history.utc_days import day_of, days_between, midnight
from coincast_market_data.validation.series_cleaning import Point, drop_jumps

REQUIRED = ("date", "close")
# `volume_usd` is what the candle files of some collections call it.
VOLUME_NAMES = ("volume", "volume_usd", "total_volume")
# Prices of one day may disagree by a rounding of the last digit.
SLACK = 1e-9


@dataclass(slots=True)
class Checked:
    """The good candles in order of days, and what was put aside by reason."""

    candles: list[Candle] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    gaps: list[date] = field(default_factory=list)


def check_columns(names: Iterable[str]) -> str:
    """What is missing from a file's header; empty where nothing is."""
    lacking = [name for name in REQUIRED if name not in set(names)]
    return f"lacks the column {', '.join(lacking)}" if lacking else ""


def check_rows(rows: Iterable[Mapping[str, Any]], last_closed: date) -> Checked:
    """Candles of closed days. Of two rows for one day that differ, neither is taken."""
    checked = Checked()
    days: dict[date, Candle] = {}
    contradicted: set[date] = set()
    for row in rows:
        found = read_row(row, last_closed)
        if isinstance(found, str):
            checked.rejected[found] += 1
        elif found.day in days:
            same = days[found.day] == found
            checked.rejected["duplicate day" if same else "two rows for one day differ"] += 1
            contradicted.update([] if same else [found.day])
        else:
            days[found.day] = found
    candles = [days[day] for day in sorted(days) if day not in contradicted]
    checked.candles = _without_jumps(candles, checked)
    if checked.candles:
        have = {candle.day for candle in checked.candles}
        span = days_between(checked.candles[0].day, checked.candles[-1].day)
        checked.gaps = [day for day in span if day not in have]
    return checked


def read_row(row: Mapping[str, Any], last_closed: date) -> Candle | str:
    """A candle, or why the row is none."""
    day = _day(row.get("date"))
    if day is None:
        return "unreadable date"
    prices = {name: _number(row.get(name)) for name in ("open", "high", "low", "close")}
    figures = {name: value for name, value in prices.items() if isinstance(value, float)}
    fault = _day_fault(day, last_closed) or _price_fault(prices, figures)
    if fault:
        return fault
    volume = next((value for name in VOLUME_NAMES if (value := _number(row.get(name))) is not None), None)
    return Candle(
        day=day,
        close=figures["close"],
        open=figures.get("open"),
        high=figures.get("high"),
        low=figures.get("low"),
        volume=_not_negative(volume),
        market_cap=_not_negative(_number(row.get("market_cap"))) or None,
    )


def _day_fault(day: date, last_closed: date) -> str:
    if day > last_closed:
        return "day not closed yet"
    return "before the first bitcoin" if midnight(day) < EARLIEST else ""


def _price_fault(prices: Mapping[str, float | str | None], figures: Mapping[str, float]) -> str:
    if any(isinstance(value, str) for value in prices.values()):
        return "price not a number"
    if prices["close"] is None:
        return "no close"
    if any(value <= 0 for value in figures.values()):
        return "price not positive"
    return "" if _range_holds(figures) else "high and low contradict open and close"


def _day(value: Any) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value).strip()[:10])
    except ValueError:
        return None


def _number(value: Any) -> float | str | None:
    """A finite number; None where the cell is empty; the text itself where it is neither."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        result = float(value)
    except (TypeError, ValueError):
        return str(value)
    return result if math.isfinite(result) else str(value)


def _not_negative(value: float | str | None) -> float | None:
    return value if isinstance(value, float) and value >= 0 else None


def _range_holds(figures: Mapping[str, float]) -> bool:
    inner = [figures[name] for name in ("open", "close") if name in figures]
    high, low = figures.get("high", math.inf), figures.get("low", 0.0)
    return low <= min(inner) * (1 + SLACK) and max(inner) <= high * (1 + SLACK) and low <= high


def _without_jumps(candles: list[Candle], checked: Checked) -> list[Candle]:
    kept = drop_jumps([Point(midnight(candle.day), candle.close) for candle in candles])
    days = {day_of(point.at) for point in kept}
    if len(days) < len(candles):
        checked.rejected["tenfold off all neighbours"] += len(candles) - len(days)
    return [candle for candle in candles if candle.day in days]
