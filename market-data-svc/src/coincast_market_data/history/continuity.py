"""Checks whether candles from the upstream are continuous with the stored ones; pure functions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby, pairwise
from statistics import median

from coincast_market_data.domain import Candle, HourlyCandle
from coincast_market_data.history.candle_builder import DAY_SECONDS, HOUR_SECONDS, ONE_DAY, day_of, midnight
from coincast_market_data.validation.outliers import JUMP_FACTOR, is_outlier
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
# A price rarely doubles between two hours or days. Such a step at the newest end waits for a second fetch,
# unless the spot price supports it. Between points further apart, a tenfold step does.
STEP_FACTOR = 2.0
STEP_SECONDS = 2 * DAY_SECONDS
# A new day this far off the days beside it waits for a second fetch.
RUN_FACTOR = 4.0
# Points no further apart than this are hourly: there the oldest ones are suspect from RUN_FACTOR on.
HOURLY_SECONDS = 2 * 3600
# Limits of the search for false runs: how many of one series, and how many steps one may have within.
MAX_RUNS = 100
MAX_LEVELS = 6
PricePoint = tuple[float, float]
# Between days further apart, any move is plausible.
NEAR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Jump:
    """Consecutive candles that are far off every stored neighbour; `edge` is the one beside it."""

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
    found = [
        Jump(candle, (candle.day,))
        for candle in again
        if ratio_of(candle.close, closes[candle.day]) >= RUN_FACTOR
    ]
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
    if edges and all(_disagree(mine, other) for mine, other in edges):
        return edges[0][0]
    return None


def _disagree(mine: Candle, other: Candle) -> bool:
    near = abs(mine.day - other.day) <= timedelta(seconds=STEP_SECONDS)
    return ratio_of(mine.close, other.close) >= (RUN_FACTOR if near else JUMP_FACTOR)


def unconfirmed_tail(candles: Sequence[Candle], spot: float | None, *, stored: bool = False) -> list[Candle]:
    """Return the newest candles after a step that is not confirmed yet.

    A spot price that is nearer to the new level than to the old one confirms them, and so do 30 days on that
    level.

    Args:
        candles: Stored and new candles together, in order of days.
        spot: The newest known spot price; None where there is none.
        stored: Whether all of them were accepted before; see `tail_start`.
    """
    start = tail_start(closes_at(candles), spot, stored=stored)
    return [] if start is None else list(candles[start:])


def closes_at(candles: Iterable[Candle]) -> list[PricePoint]:
    """Return the closes with the beginning of their day, UNIX seconds."""
    return [(midnight(candle.day), candle.close) for candle in candles]


def tail_start(points: Sequence[PricePoint], spot: float | None, *, stored: bool = False) -> int | None:
    """Return where the unconfirmed newest levels begin, or None.

    A level of more than 30 days is suspect only where a spot price contradicts it.

    Args:
        points: UNIX seconds and price, in order of time.
        spot: The newest known spot price; None where there is none.
        stored: Whether all of them were accepted before. Without a spot price only a tenfold step counts
            then, as nothing new contradicts them.
    """
    if len(points) < 2:
        return None
    oldest = points[-1][0] - TAIL_DAYS * DAY_SECONDS
    level, start = points[-1][1], None
    for place in range(len(points) - 1, 0, -1):
        (before_at, before), (at, price) = points[place - 1], points[place]
        long_ago = at <= oldest
        if long_ago and (spot is None or ratio_of(spot, level) < RUN_FACTOR):
            break
        tenfold_only = long_ago or (stored and spot is None)
        if ratio_of(price, before) < (JUMP_FACTOR if tenfold_only else step_factor(at - before_at)):
            continue
        if spot is not None and ratio_of(spot, level) <= ratio_of(spot, before):
            break
        level, start = before, place
    return start


def needs_witness(points: Sequence[PricePoint]) -> bool:
    """Return whether a series has a step that a spot price should support or contradict.

    Args:
        points: UNIX seconds and price, in order of time.
    """
    tenfold = any(is_outlier(after, before) for (_, before), (_, after) in pairwise(points))
    return tenfold or tail_start(points, None) is not None


def head_end(points: Sequence[PricePoint], daily_factor: float = JUMP_FACTOR) -> int:
    """Return the end of the oldest prices that a step parts from a longer later level; 0 where there is none.

    Args:
        points: UNIX seconds and price, in order of time.
        daily_factor: The factor from which on it is a step, where points are further apart than hours.
    """
    end = 0
    for place, ((before_at, before), (at, price)) in enumerate(pairwise(points), 1):
        if at - points[0][0] > TAIL_DAYS * DAY_SECONDS:
            break
        gap = at - before_at
        limit = RUN_FACTOR if gap <= HOURLY_SECONDS else daily_factor
        if gap <= NEAR.total_seconds() and ratio_of(price, before) >= limit:
            end = place
    return end if end <= len(points) - end else 0


def step_factor(gap_seconds: float) -> float:
    """Return from which factor on a step between points so far apart needs support."""
    return STEP_FACTOR if gap_seconds <= STEP_SECONDS else JUMP_FACTOR


def isolated_runs(candles: Sequence[Candle], factor: float = JUMP_FACTOR) -> list[list[Candle]]:
    """Return runs of at most 30 days that are off both sides while the sides agree.

    Args:
        candles: Stored and new candles together, in order of days.
        factor: The factor from which on two closes disagree.
    """
    return [list(candles[start:end]) for start, end in isolated_spans(closes_at(candles), factor)]


def isolated_spans(points: Sequence[PricePoint], factor: float) -> list[tuple[int, int]]:
    """Return (start, end) of runs within 30 days that are off both sides while the sides agree, in order.

    The shortest run is taken first and the others are judged without it: of two levels that take turns, the
    rarer one is off.

    Args:
        points: UNIX seconds and price, in order of time.
        factor: The factor from which on two prices disagree.
    """
    steps = [
        number
        for number in range(1, len(points))
        if ratio_of(points[number][1], points[number - 1][1]) >= factor
        and points[number][0] - points[number - 1][0] <= NEAR.total_seconds()
    ]
    found: list[tuple[int, int]] = []
    while len(steps) > 1 and len(found) < MAX_RUNS:
        runs = [
            (points[end - 1][0] - points[start][0], place, other)
            for place, start in enumerate(steps)
            for other, end in enumerate(steps[place + 1 : place + 1 + MAX_LEVELS], place + 1)
            if points[end - 1][0] - points[start][0] < TAIL_DAYS * DAY_SECONDS
            and ratio_of(points[start - 1][1], points[end][1]) < factor
        ]
        if not runs:
            break
        _, place, other = min(runs)
        found.append((steps[place], steps[other]))
        del steps[place : other + 1]
    return sorted(found)


def unsupported_head(candles: Sequence[Candle], factor: float = JUMP_FACTOR) -> list[Candle]:
    """Return the oldest candles, of at most 30 days, that a step parts from a longer later level.

    Args:
        candles: Stored and new candles together, in order of days.
        factor: The factor from which on it is a step.
    """
    return list(candles[: head_end(closes_at(candles), factor)])


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
