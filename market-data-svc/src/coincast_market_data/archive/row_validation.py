"""Validate the candles of a file for the archive, and report the rejected rows with the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from coincast_market_data.coingecko.parser import Point, drop_jumps
from coincast_market_data.domain import Candle
from coincast_market_data.history.candle_builder import day_of, midnight
from coincast_modelkit.candle_files.daily import DailyFile, read_daily_rows


@dataclass(slots=True)
class Checked:
    """The valid candles of a file in order of days, and its rejected rows.

    `rejected` counts rows by reason; `named` has a line with file, line and reason for each row; `gaps` are
    the days without a valid candle between the first and the last one.
    """

    candles: list[Candle] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    gaps: list[date] = field(default_factory=list)


def check_rows(rows: Iterable[Mapping[str, Any]], last_closed: date) -> Checked:
    """Validate rows, whose lines count from 1.

    Args:
        rows: The rows of a file, in its order.
        last_closed: The newest closed day; later rows are rejected.
    """
    return check_file(read_daily_rows(enumerate(rows, 1), last_closed))


def check_file(found: DailyFile) -> Checked:
    """Validate the candles of a file; those that differ tenfold from all their neighbours are rejected."""
    checked = Checked(rejected=found.reasons(), named=found.named_rows())
    candles = [
        Candle(
            day=c.day, close=c.close, open=c.open, high=c.high, low=c.low, volume=c.volume,
            market_cap=c.market_cap,
        )
        for c in found.candles
    ]  # fmt: skip
    checked.candles = _without_jumps(candles, checked)
    have = {candle.day for candle in checked.candles}
    left_out = [candle.day for candle in candles if candle.day not in have]
    checked.named += [f"{found.file} {day}: tenfold off all neighbours" for day in left_out]
    if checked.candles:
        first, last = checked.candles[0].day, checked.candles[-1].day
        checked.gaps = sorted(day for day in {*found.gaps, *left_out} if first <= day <= last)
    return checked


def _without_jumps(candles: list[Candle], checked: Checked) -> list[Candle]:
    kept = drop_jumps([Point(midnight(candle.day), candle.close) for candle in candles])
    days = {day_of(point.at) for point in kept}
    if len(days) < len(candles):
        checked.rejected["tenfold off all neighbours"] += len(candles) - len(days)
    return [candle for candle in candles if candle.day in days]
