"""Builds hourly candles of closed hours from intraday points. Pure functions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from coincast_market_data.domain import HourlyCandle
from coincast_market_data.validation.series_cleaning import Point

HOUR_SECONDS = 3600
# CoinGecko has the point that closes an hour a few minutes after it.
SETTLING_SECONDS = 300
# A point so long before the end of the hour, or so little after it, is the hour's close.
BEFORE_END_SECONDS = 900
AFTER_END_SECONDS = 300
# Points further apart than this are daily.
MAX_SPACING_SECONDS = 5400
# High and low need points within the hour: points of five minutes give twelve.
MIN_POINTS_FOR_RANGE = 10


def last_closed_hour(now: float) -> int:
    """Return the start of the newest closed hour; `now` and the result in UNIX seconds."""
    return int((now - SETTLING_SECONDS) // HOUR_SECONDS) * HOUR_SECONDS - HOUR_SECONDS


def build_hours(points: Sequence[Point], last_hour: int) -> list[HourlyCandle]:
    """Return the candles of the hours whose close is known, oldest first.

    Args:
        points: Points in order of time, one a moment.
        last_hour: Start of the newest closed hour, UNIX seconds.
    """
    if len(points) < 2 or median(b.at - a.at for a, b in pairwise(points)) > MAX_SPACING_SECONDS:
        return []
    times = [point.at for point in points]
    first = int(times[0] // HOUR_SECONDS) * HOUR_SECONDS
    candles = []
    opening = _price_at(points, times, first)
    # No hour after the last point has a close: a chart of an old span must not be walked to today.
    for start in range(first, min(last_hour, int(times[-1])) + 1, HOUR_SECONDS):
        close = _price_at(points, times, start + HOUR_SECONDS)
        if close is not None:
            begin, end = bisect_left(times, start), bisect_right(times, start + HOUR_SECONDS)
            high = low = None
            if opening and end - begin >= MIN_POINTS_FOR_RANGE:
                prices = [opening, close, *(point.price for point in points[begin:end])]
                high, low = max(prices), min(prices)
            candles.append(HourlyCandle(start, close, open=opening, high=high, low=low))
        opening = close
    return candles


def _price_at(points: Sequence[Point], times: Sequence[float], moment: float) -> float | None:
    """Return the price of the point nearest to a full hour; None where no point is near enough.

    Of two points equally near, the earlier one counts.
    """
    after = bisect_left(times, moment)
    nearest, distance = None, 0.0
    if after > 0 and times[after - 1] >= moment - BEFORE_END_SECONDS:
        nearest, distance = points[after - 1], moment - times[after - 1]
    if after < len(times) and times[after] <= moment + AFTER_END_SECONDS:
        gap = times[after] - moment
        if nearest is None or gap < distance:
            nearest = points[after]
    return nearest.price if nearest else None
