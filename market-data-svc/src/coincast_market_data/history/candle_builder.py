"""Builds daily candles of closed UTC days from intraday or daily points. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby, pairwise
from statistics import median

from coincast_market_data.domain import Candle
from coincast_market_data.history.utc_days import DAY_SECONDS, ONE_DAY, day_of, midnight
from coincast_market_data.validation.series_cleaning import Point

# Points are not aligned to the clock; one so near to midnight is that midnight's price.
NEAR_SECONDS = 15 * 60
# A day whose last point is further from its end than this has no close that could be trusted.
LAST_SECONDS = 2 * 3600
INTRADAY_SPACING = 2 * 3600
# High and low need the day to be covered: at least this many different hours.
LEAST_HOURS = 20


def build_candles(points: Sequence[Point], last_day: date) -> list[Candle]:
    """Build candles in order of days, none later than `last_day` (the newest closed one).

    Args:
        points: Points in order of time.
        last_day: The newest closed day.
    """
    if len(points) < 2:
        return []
    spacing = median(b.at - a.at for a, b in pairwise(points))
    candles = _from_intraday(points) if spacing <= INTRADAY_SPACING else _from_daily(points)
    return [candle for candle in candles if candle.day <= last_day]


def _from_daily(points: Sequence[Point]) -> list[Candle]:
    """Build bare closes: a point at midnight is the close of the day before; the day's range is unknown."""
    candles: dict[date, Candle] = {}
    at_midnight = _midnight_points(points)
    for day, point in at_midnight.items():
        opening = at_midnight.get(day - ONE_DAY)
        closed = day - ONE_DAY
        candles[closed] = Candle(
            closed,
            point.price,
            open=opening.price if opening else None,
            volume=point.volume,
            market_cap=point.market_cap,
        )
    return [candles[day] for day in sorted(candles)]


def _midnight_points(points: Sequence[Point]) -> dict[date, Point]:
    """Return, by the day that begins there, the first point within a quarter of an hour of midnight."""
    found: dict[date, Point] = {}
    for point in points:
        if point.at % DAY_SECONDS <= NEAR_SECONDS:
            found.setdefault(day_of(point.at), point)
    return found


def _from_intraday(points: Sequence[Point]) -> list[Candle]:
    at_midnight = _midnight_points(points)
    candles = []
    for day, group in groupby(points, key=lambda point: day_of(point.at)):
        candle = _one_day(day, list(group), at_midnight.get(day), at_midnight.get(day + ONE_DAY))
        if candle is not None:
            candles.append(candle)
    return candles


def _one_day(
    day: date, inside: Sequence[Point], opening: Point | None, closing: Point | None
) -> Candle | None:
    end = midnight(day) + DAY_SECONDS
    last = closing or inside[-1]
    if closing is None and end - last.at > LAST_SECONDS:
        return None
    prices = [point.price for point in inside] + ([closing.price] if closing else [])
    covered = len({int(point.at // 3600) for point in inside}) >= LEAST_HOURS
    return Candle(
        day,
        last.price,
        open=opening.price if opening else None,
        high=max(prices) if covered and opening else None,
        low=min(prices) if covered and opening else None,
        volume=last.volume,
        market_cap=last.market_cap,
    )
