"""Build daily and hourly candles from points, and compute with closed UTC days; pure functions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from coincast_market_data.coingecko.parser import Point
from coincast_market_data.domain import Candle, HourlyCandle

# CoinGecko has the final data of a day 35 minutes after its end.
SETTLING = timedelta(minutes=35)
ONE_DAY = timedelta(days=1)
DAY_SECONDS = 86_400
EPOCH_DAY = date(1970, 1, 1).toordinal()


def last_closed_day(now: float) -> date:
    """Return the newest day whose candle is final. `now`: UNIX seconds on the upstream's clock."""
    return (datetime.fromtimestamp(now, UTC) - SETTLING).date() - ONE_DAY


def midnight(day: date) -> float:
    """Return the UNIX seconds at which the day begins."""
    return float((day.toordinal() - EPOCH_DAY) * DAY_SECONDS)


def day_of(moment: float) -> date:
    """Return the UTC day of a moment in UNIX seconds."""
    return datetime.fromtimestamp(moment, UTC).date()


def within(candles: Sequence[Candle], first: date, last: date) -> Sequence[Candle]:
    """Return the candles from `first` to `last`, both included.

    Args:
        candles: Candles in order of days, one for each day.
        first: The first day.
        last: The last day.
    """
    start = bisect_left(candles, first, key=_day)
    return candles[start : bisect_right(candles, last, key=_day)]


def gaps(candles: Sequence[Candle], first: date, last: date) -> list[date]:
    """Return the days from `first` to `last` without a candle; all candles must lie within these days."""
    if len(candles) == (last - first).days + 1:
        return []
    have = {candle.day for candle in candles}
    return [day for day in days_between(first, last) if day not in have]


def _day(candle: Candle) -> date:
    return candle.day


def days_between(first: date, last: date) -> list[date]:
    """Return every day from `first` to `last`, both included; none if `last` is before `first`."""
    return [first + timedelta(days=step) for step in range((last - first).days + 1)]


# Points are not aligned to the clock. One within this time after midnight has the price of midnight.
NEAR_SECONDS = 15 * 60
# A day whose last point is further from its end than this has no reliable close.
LAST_SECONDS = 2 * 3600
# Points with a larger median distance are daily points.
INTRADAY_SPACING = 2 * 3600
# High and low are only known if the points of a day cover at least this many different hours.
LEAST_HOURS = 20


def build_candles(points: Sequence[Point], last_day: date) -> list[Candle]:
    """Build the candles of closed days from points, in order of days.

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
    """Build candles from daily points, of which each is the close of the day before; they have no range."""
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
    """Return the first point within 15 minutes after each midnight, by the day that begins then."""
    found: dict[date, Point] = {}
    for point in points:
        if point.at % DAY_SECONDS <= NEAR_SECONDS:
            found.setdefault(day_of(point.at), point)
    return found


def _from_intraday(points: Sequence[Point]) -> list[Candle]:
    at_midnight = _midnight_points(points)
    candles = []
    # Grouped by the number of the day, since computing a date for each point is much slower.
    for number, group in groupby(points, key=lambda point: point.at // DAY_SECONDS):
        day = day_of(number * DAY_SECONDS)
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


HOUR_SECONDS = 3600
# CoinGecko has the point that closes an hour five minutes after its end.
SETTLING_SECONDS = 300
# The close of an hour is the nearest point within these times before and after its end.
BEFORE_END_SECONDS = 900
AFTER_END_SECONDS = 300
# Points with a larger median distance give no hours.
MAX_SPACING_SECONDS = 5400
# High and low are only known with this many points in the hour; five-minute points are twelve.
MIN_POINTS_FOR_RANGE = 10


def last_closed_hour(now: float) -> int:
    """Return the start of the newest closed hour; `now` and the result are UNIX seconds."""
    return int((now - SETTLING_SECONDS) // HOUR_SECONDS) * HOUR_SECONDS - HOUR_SECONDS


def build_hours(points: Sequence[Point], last_hour: int) -> list[HourlyCandle]:
    """Return the candles of the hours whose close is known, oldest first.

    Args:
        points: Points in order of time, with distinct times.
        last_hour: The start of the newest closed hour, UNIX seconds.
    """
    if len(points) < 2 or median(b.at - a.at for a, b in pairwise(points)) > MAX_SPACING_SECONDS:
        return []
    times = np.array([point.at for point in points])
    first = int(times[0] // HOUR_SECONDS) * HOUR_SECONDS
    # Hours after the last point have no close, so the loop ends there, also for a chart of an old span.
    starts = range(first, min(last_hour, int(times[-1])) + 1, HOUR_SECONDS)
    ends = np.array(starts) + HOUR_SECONDS
    at_hours = _points_at(times, np.append(first, ends))
    prices = [None if index < 0 else points[index].price for index in at_hours.tolist()]
    begins, stops = np.searchsorted(times, starts), np.searchsorted(times, ends, side="right")
    inside = zip(begins.tolist(), stops.tolist(), strict=True)
    candles = []
    for start, (opening, close), (begin, stop) in zip(starts, pairwise(prices), inside, strict=True):
        if close is None:
            continue
        high = low = None
        if opening and stop - begin >= MIN_POINTS_FOR_RANGE:
            within_hour = [opening, close, *(point.price for point in points[begin:stop])]
            high, low = max(within_hour), min(within_hour)
        candles.append(HourlyCandle(start, close, open=opening, high=high, low=low))
    return candles


def _points_at(times: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the point nearest to each full hour; -1 if no point is near enough.

    Of two points at the same distance, the earlier one is used.

    Args:
        times: Times of the points (n,), UNIX seconds, increasing.
        moments: Full hours (m,), UNIX seconds.

    Returns:
        Indexes into `times` (m,).
    """
    after = np.searchsorted(times, moments)
    padded = np.concatenate(([-np.inf], times, [np.inf]))
    gap_before, gap_after = moments - padded[after], padded[after + 1] - moments
    use_after = (gap_after <= AFTER_END_SECONDS) & (
        (gap_after < gap_before) | (gap_before > BEFORE_END_SECONDS)
    )
    use_before = ~use_after & (gap_before <= BEFORE_END_SECONDS)
    return np.where(use_after, after, np.where(use_before, after - 1, -1))
