"""Checks whether candles from the upstream are continuous with the stored ones; pure functions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby, pairwise
from statistics import median

from coincast_market_data.domain import Candle, HourlyCandle
from coincast_market_data.history.candle_builder import HOUR_SECONDS, ONE_DAY, day_of, midnight
from coincast_market_data.validation.outliers import is_outlier
from coincast_market_data.validation.outliers import ratio as ratio_of

# All days count as multiplied (restated) if the factor is at least this. Corrections of single days are
# smaller, and a redenomination changes prices by a tenth, a hundredth or a thousandth.
RESTATEMENT_FACTOR = 2.0
# The closes of a day and of its last hour count as different scales from this factor on. It may be small,
# since both are prices of the same moment.
SAME_MOMENT_FACTOR = 1.5
# The largest relative deviation of a single day from the factor of a restatement.
RESTATEMENT_SPREAD = 0.1
# A price level that lasts this long is no error of a single fetch.
TAIL_DAYS = 30
# Between days further apart, a tenfold move is plausible.
NEAR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Jump:
    """Consecutive new candles that differ tenfold from their stored neighbours.

    `edge` is the candle next to a stored one; `days` are the days of all of them.
    """

    edge: Candle
    days: tuple[date, ...]


def jumps(kept: Sequence[Candle], new: Sequence[Candle]) -> list[Jump]:
    """Return the new candles that differ tenfold from the stored day or from the stored neighbours.

    Args:
        kept: Stored candles, in order of days.
        new: New candles, in order of days.
    """
    closes = {candle.day: candle.close for candle in kept}
    again = [candle for candle in new if candle.day in closes]
    found = [Jump(candle, (candle.day,)) for candle in again if is_outlier(candle.close, closes[candle.day])]
    days = [candle.day for candle in kept]
    for run in _runs([candle for candle in new if candle.day not in closes], days):
        edge = _jumping_edge(kept, run, bisect_left(days, run[0].day))
        if edge is not None:
            found.append(Jump(edge, tuple(candle.day for candle in run)))
    return found


def _runs(new: Iterable[Candle], kept_days: Sequence[date]) -> Iterator[list[Candle]]:
    """Yield runs of new candles, between which there is a stored day."""
    run: list[Candle] = []
    place = -1
    for candle in new:
        at = bisect_left(kept_days, candle.day)
        if run and at != place:
            yield run
            run = []
        run.append(candle)
        place = at
    if run:
        yield run


def _jumping_edge(kept: Sequence[Candle], run: Sequence[Candle], place: int) -> Candle | None:
    """Return the edge of a run if it differs tenfold from all its near neighbours, otherwise None.

    Args:
        kept: Stored candles, in order of days.
        run: New candles, in order of days, without a stored day between them.
        place: The index of the first stored candle after the run.
    """
    edges = []
    if place > 0 and run[0].day - kept[place - 1].day <= NEAR:
        edges.append((run[0], kept[place - 1]))
    if place < len(kept) and kept[place].day - run[-1].day <= NEAR:
        edges.append((run[-1], kept[place]))
    if edges and all(is_outlier(mine.close, other.close) for mine, other in edges):
        return edges[0][0]
    return None


def unconfirmed_tail(candles: Sequence[Candle], spot: float | None) -> list[Candle]:
    """Return the newest candles after a tenfold step that is not confirmed.

    A spot price on the new level confirms it, and so do 30 days on that level.

    Args:
        candles: Stored and new candles together, in order of days.
        spot: The newest known spot price, or None.
    """
    start = tail_start([candle.close for candle in candles], spot)
    return [] if start is None else list(candles[start:])


def tail_start(prices: Sequence[float], spot: float | None) -> int | None:
    """Return the index at which an unconfirmed newest price level begins, or None.

    Args:
        prices: Prices in order of time.
        spot: The newest known spot price, or None.
    """
    oldest = max(1, len(prices) - TAIL_DAYS)
    steps = (n for n in range(len(prices) - 1, oldest - 1, -1) if is_outlier(prices[n], prices[n - 1]))
    start = next(steps, None)
    if start is None or (spot is not None and not is_outlier(spot, prices[-1])):
        return None
    return start


def isolated_runs(candles: Sequence[Candle]) -> list[list[Candle]]:
    """Return runs of at most 30 days that differ tenfold from both sides, although the sides agree.

    Args:
        candles: Stored and new candles together, in order of days.
    """
    steps = [
        number
        for number in range(1, len(candles))
        if is_outlier(candles[number].close, candles[number - 1].close)
        and candles[number].day - candles[number - 1].day <= NEAR
    ]
    return [
        list(candles[start:end])
        for start, end in pairwise(steps)
        if end - start <= TAIL_DAYS and not is_outlier(candles[start - 1].close, candles[end].close)
    ]


def implausible_ranges(candles: Sequence[Candle]) -> list[Candle]:
    """Return the candles with an implausible high or low.

    A high or low is implausible if it differs tenfold from the close of the day and of both neighbours, or
    lies on the wrong side of the close.

    Args:
        candles: Candles in order of days, without those whose close is implausible.
    """
    found = []
    for place, candle in enumerate(candles):
        beside = candles[max(0, place - 1) : place + 2]
        closes = [other.close for other in beside if abs(other.day - candle.day) <= NEAR]
        ends = [price for price in (candle.high, candle.low) if price is not None]
        off = any(price <= 0 or all(is_outlier(price, close) for close in closes) for price in ends)
        wrong_side = (candle.high is not None and candle.high < candle.close) or (
            candle.low is not None and candle.low > candle.close
        )
        if off or wrong_side:
            found.append(candle)
    return found


def restatement(kept: Sequence[Candle], new: Sequence[Candle]) -> float | None:
    """Return the factor by which the source has multiplied all stored days, or None.

    A redenomination or a token migration multiplies all past prices by the same factor.

    Args:
        kept: Stored candles.
        new: Candles of the same days from a new fetch.
    """
    closes = {candle.day: candle.close for candle in kept}
    ratios = [candle.close / closes[candle.day] for candle in new if candle.day in closes]
    if not ratios:
        return None
    middle = median(ratios)
    agree = all(abs(ratio / middle - 1) <= RESTATEMENT_SPREAD for ratio in ratios)
    return middle if agree and ratio_of(middle, 1.0) >= RESTATEMENT_FACTOR else None


def contradicting_hours(hours: Sequence[HourlyCandle], days: Sequence[Candle]) -> list[HourlyCandle]:
    """Return the hours that are on another scale than the days, as after a redenomination.

    If the last hour of a day closes at another price than the day itself, all hours of that day are returned.
    Some days, such as today, lack the close of the day or the last hour. All hours of such a day are returned
    if it follows a day whose hours were. Otherwise those are returned that are tenfold off the closes of the
    days beside them; a smaller factor would not do, since a true price can halve within a day.

    Args:
        hours: Hours in order of time.
        days: Daily candles.
    """
    closes = {candle.day: candle.close for candle in days}
    found: list[HourlyCandle] = []
    odd_day: date | None = None
    for day, group in groupby(hours, key=lambda hour: day_of(hour.start)):
        of_day = list(group)
        close, ends_with_day = closes.get(day), of_day[-1].start + HOUR_SECONDS == midnight(day + ONE_DAY)
        if close is not None and ends_with_day:
            contradicts = ratio_of(of_day[-1].close, close) >= SAME_MOMENT_FACTOR
        else:
            contradicts = odd_day == day - ONE_DAY
            near = [closes[d] for d in (day - ONE_DAY, day, day + ONE_DAY) if d in closes]
            if not contradicts and near:
                found += [h for h in of_day if all(is_outlier(h.close, price) for price in near)]
        if contradicts:
            found += of_day
            odd_day = day
    return found


def factor(kept: Sequence[Candle], points: Iterable[tuple[float, float]]) -> float | None:
    """Return the median ratio of a series to the stored closes; None if no stored day is near.

    Args:
        kept: Stored candles, in order of days.
        points: (UNIX seconds, price), in order of time.
    """
    if not kept:
        return None
    last = {day_of(at): price for at, price in points}
    common = [last[candle.day] / candle.close for candle in kept if candle.day in last]
    if common:
        return median(common)
    first = min(last, default=None)
    before = kept[bisect_left(kept, first, key=lambda candle: candle.day) - 1] if first else None
    if first is None or before is None or not ONE_DAY <= first - before.day <= NEAR:
        return None
    return last[first] / before.close
