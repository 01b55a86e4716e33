"""Features for daily models from the hours of a UTC day: volatility spans, their shape, the last hours.

A row describes a day at its close and uses no later hour. Sources: Corsi 2009 (spans of realised volatility),
Barndorff-Nielsen and Shephard 2002 (quarticity), Corsi, Mittnik, Pigorsch and Pigorsch 2008 (volatility of
realised volatility). All terms depend on a bounded number of days, so the newest row is the same whether it
is computed from a long history or from the last MEMORY_DAYS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Dates, Floats
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.hourly.candles import (
    CLOSES,
    HOURS_A_DAY,
    MIN_HOURS_A_DAY,
    RANGES,
    HourlyCandles,
    HourlyPanel,
    source_of,
)
from coincast_modelkit.hourly.features import LEADER
from coincast_modelkit.hourly.volatility import (
    CAP_HOURS,
    FLOOR_HOURLY_VARIANCE,
    PRESENT_SHARE,
    hourly_returns,
    hourly_variance,
)
from coincast_modelkit.rolling import column_mean, difference, rolling_mean, rolling_std, shift
from coincast_modelkit.volatility import FLOOR_DAILY_VARIANCE

SPANS = (1, 3, 7, 22, 66)
REFERENCE_SPANS = (1, 7, 22)
LAST_HOURS = (3, 6, 12)
MONTH = 22
# The profile of the hours of the day is the mean of their log variance over this many preceding days.
PROFILE_DAYS = max(SPANS)
# A day's variance is capped at this multiple of the mean of the month before it.
CAP_MULTIPLE = 25.0
# A row depends on at most this many days of hours.
MEMORY_DAYS = PROFILE_DAYS + MONTH + CAP_HOURS // HOURS_A_DAY
# Levels are logs of daily volatility. A model uses their distances from its own base volatility.
LEVEL_TERMS = (
    *(f"hours_{k}" for k in SPANS),
    *(f"leader_hours_{k}" for k in REFERENCE_SPANS),
    *(f"market_hours_{k}" for k in REFERENCE_SPANS),
)
SHAPE_TERMS = (
    *(f"last_{k}h" for k in LAST_HOURS),
    "quarticity",
    "quarticity_turn",
    "volatility_of_hours",
)
TERMS = (*LEVEL_TERMS, *SHAPE_TERMS)


@dataclass(frozen=True, slots=True, eq=False)
class DayMeasures:
    """One coin's measures by UTC day: levels (n, 5) over SPANS, shapes (n, 6), NaN where hours are missing.

    dates (n,) are consecutive and leave out a day whose last hour has not closed. variance (n,) is the
    variance of each day, from the sum over its hours.
    """

    coin_id: str
    dates: Dates
    variance: Floats
    levels: Floats
    shapes: Floats


@dataclass(frozen=True, slots=True, eq=False)
class MarketMeasures:
    """Levels over REFERENCE_SPANS, of bitcoin and the mean over coins, (n, 3) each, on dates (n,)."""

    dates: Dates
    leader: Floats
    market: Floats


@dataclass(frozen=True, slots=True, eq=False)
class DayRow:
    """The values (17,) of TERMS at the close of one coin's day, and the source of its hourly variances.

    source is RANGES or CLOSES; a model must use the parameters that were fitted on rows of the same source.
    """

    values: Floats
    source: str


def day_measures(candles: HourlyCandles, *, ranges: bool = True) -> DayMeasures:
    """Return the measures of every closed UTC day of a coin.

    Args:
        candles: The coin's hours.
        ranges: Whether the variance of an hour is computed from its high and low, or from closes alone. A
            model that was fitted on rows of one kind must not be applied to rows of the other.
    """
    first_day = candles.first.astype("datetime64[D]")
    lead = int((candles.first - first_day).astype(np.int64))
    days = (lead + len(candles)) // HOURS_A_DAY

    def by_day(x: Floats) -> Floats:
        padded = np.concatenate([np.full(lead, np.nan), x])[: days * HOURS_A_DAY]
        return padded.reshape(days, HOURS_A_DAY)

    variance = by_day(hourly_variance(candles, ranges=ranges))
    if ranges:
        # The variance of an hour without a range would come from its close, which is another measure, so the
        # hour counts as missing.
        variance = np.where(np.isfinite(by_day(candles.high) - by_day(candles.low)), variance, np.nan)
    returns = by_day(hourly_returns(candles))
    known = np.isfinite(variance)
    whole = known.sum(axis=1) >= MIN_HOURS_A_DAY
    day = np.where(whole, HOURS_A_DAY * column_mean(variance.T), np.nan)
    limit = CAP_MULTIPLE * shift(rolling_mean(day, MONTH), 1)
    day = np.where(np.isfinite(limit), np.minimum(day, limit), day)
    means = np.stack([rolling_mean(day, k) for k in SPANS], axis=1)
    levels = 0.5 * np.log(np.maximum(means, FLOOR_DAILY_VARIANCE))
    newest, week = levels[:, 0].copy(), levels[:, SPANS.index(7)].copy()
    change = rolling_std(difference(newest, 1), MONTH)
    for i in range(len(SPANS) - 2, 0, -1):
        levels[:, i] = np.where(np.isfinite(levels[:, i]), levels[:, i], levels[:, i + 1])
    for i in range(1, len(SPANS)):
        levels[:, i] = np.where(np.isfinite(levels[:, i]), levels[:, i], levels[:, i - 1])
    squares = np.where(np.isfinite(returns), returns, 0.0) ** 2
    realised = np.maximum(squares.sum(axis=1), FLOOR_DAILY_VARIANCE)
    fourth = np.maximum(HOURS_A_DAY / 3 * (squares**2).sum(axis=1), FLOOR_DAILY_VARIANCE**2)
    quarticity = 0.5 * np.log(fourth) - np.log(realised)
    last = _last_hours(variance) - week[:, None]
    shapes = np.column_stack(
        [last, quarticity, quarticity * (newest - levels[:, SPANS.index(MONTH)]), change]
    )
    good = np.isfinite(newest) & np.isfinite(week) & np.isfinite(shapes).all(axis=1)
    return DayMeasures(
        coin_id=candles.coin_id,
        dates=first_day + np.arange(days).astype("timedelta64[D]"),
        variance=day,
        levels=np.where(good[:, None], levels, np.nan),
        shapes=np.where(good[:, None], shapes, np.nan),
    )


def _last_hours(variance: Floats) -> Floats:
    """Return the log daily volatility of each day's last 3, 6 and 12 hours, (n, 3), adjusted for the hour.

    The variance of the last hours is divided by their usual share of a day's variance, which is the mean of
    the PROFILE_DAYS before. variance is (n, 24).
    """
    logs = np.log(variance)
    hours = np.full_like(logs, np.nan)
    hours[1:] = _means_of_known(logs, PROFILE_DAYS, MONTH)[:-1]
    factors = np.exp(hours - hours.mean(axis=1, keepdims=True))
    factors /= factors.mean(axis=1, keepdims=True)
    out = np.empty((len(variance), len(LAST_HOURS)))
    for j, k in enumerate(LAST_HOURS):
        part = variance[:, -k:]
        known = np.isfinite(part)
        seen = column_mean(part.T)
        usual = column_mean(np.where(known, factors[:, -k:], np.nan).T)
        enough = known.sum(axis=1) >= PRESENT_SHARE * k
        ratio = np.where(enough, seen, np.nan) / usual
        out[:, j] = 0.5 * np.log(HOURS_A_DAY * np.maximum(ratio, FLOOR_HOURLY_VARIANCE))
    return out


def _means_of_known(x: Floats, window: int, least: int) -> Floats:
    """Return means of the known values of the last `window` rows, (n, K); NaN with fewer than `least`."""
    known = np.isfinite(x)
    none = np.zeros((1, x.shape[1]))
    total = np.concatenate([none, np.cumsum(np.where(known, x, 0.0), axis=0)])
    count = np.concatenate([none, np.cumsum(known, axis=0)])
    end = np.arange(1, len(x) + 1)
    start = np.maximum(end - window, 0)
    rows = count[end] - count[start]
    return np.where(rows >= least, (total[end] - total[start]) / np.maximum(rows, 1), np.nan)


def market_measures(coins: Mapping[str, DayMeasures]) -> MarketMeasures:
    """Return bitcoin's levels and the mean over coins; NaN on days without any coin."""
    at = [SPANS.index(k) for k in REFERENCE_SPANS]
    known = {coin: m for coin, m in coins.items() if len(m.dates)}
    if not known:
        none = np.empty((0, len(REFERENCE_SPANS)))
        return MarketMeasures(np.array([], dtype="datetime64[D]"), none, none)
    first = min(m.dates[0] for m in known.values())
    last = max(m.dates[-1] for m in known.values())
    dates = np.arange(first, last + np.timedelta64(1, "D"))
    table = np.stack([_on(m.dates, m.levels[:, at], dates) for m in known.values()])
    market = column_mean(table.reshape(len(known), -1)).reshape(len(dates), -1)
    leader = table[list(known).index(LEADER)] if LEADER in known else np.full_like(market, np.nan)
    return MarketMeasures(dates, leader, market)


def day_rows(own: DayMeasures, market: MarketMeasures, dates: Dates) -> Floats:
    """Return the rows (n, 17) of TERMS on given days; NaN on a day without enough hours.

    Where the leader or the market is absent, the coin's own levels are used.

    Args:
        own: The coin's measures.
        market: The market's measures.
        dates: The days, (n,).
    """
    at = [SPANS.index(k) for k in REFERENCE_SPANS]
    levels = _on(own.dates, own.levels, dates)
    parts = [
        levels,
        *(
            np.where(np.isfinite(x), x, levels[:, at])
            for x in (_on(market.dates, market.leader, dates), _on(market.dates, market.market, dates))
        ),
        _on(own.dates, own.shapes, dates),
    ]
    return np.concatenate(parts, axis=1)


def market_of_hours(reference: HourlyPanel, source: str) -> MarketMeasures:
    """Compute the market of the reference coins from one source; coins without that source are left out."""
    known = {c: h for c, h in reference.items() if len(h) and (source != RANGES or source_of(h) == RANGES)}
    return market_measures({c: day_measures(h, ranges=source == RANGES) for c, h in known.items()})


def newest_row(
    candles: HourlyCandles, market: MarketMeasures, source: str, day: np.datetime64
) -> DayRow | None:
    """Return the row of one day; None if the day lacks hours.

    Args:
        candles: The coin's hours.
        market: The market's measures from the same source.
        source: RANGES or CLOSES.
        day: The UTC day.
    """
    seen = candles.until(day + np.timedelta64(1, "D")).tail(MEMORY_DAYS * HOURS_A_DAY)
    if not len(seen):
        return None
    row = day_rows(day_measures(seen, ranges=source == RANGES), market, np.array([day]))[0]
    return DayRow(row, source) if np.isfinite(row).all() else None


@dataclass(frozen=True, slots=True)
class HoursByDay:
    """By source and coin: the first day and the rows (n, 17) of its days, as serving would compute them."""

    rows: Mapping[str, Mapping[str, tuple[np.datetime64, Floats]]]

    @classmethod
    def of(cls, hours: HourlyPanel) -> HoursByDay:
        """Compute all rows at once, which is valid because no row depends on later hours."""
        found: dict[str, dict[str, tuple[np.datetime64, Floats]]] = {}
        for source in (RANGES, CLOSES):
            market = market_of_hours({c: h for c, h in hours.items() if c in REFERENCE_COINS}, source)
            known = {c: h for c, h in hours.items() if source == CLOSES or source_of(h) == RANGES}
            measures = {c: day_measures(h, ranges=source == RANGES) for c, h in known.items() if len(h)}
            found[source] = {
                coin: (m.dates[0], day_rows(m, market, m.dates))
                for coin, m in measures.items()
                if len(m.dates)
            }
        return cls(found)

    def row(self, coin: str, day: np.datetime64) -> DayRow | None:
        """Return a coin's row of a day, from ranges if possible, else from closes; None without hours."""
        for source, by_coin in self.rows.items():
            if coin in by_coin:
                first, rows = by_coin[coin]
                at = int((day - first).astype(np.int64))
                if 0 <= at < len(rows) and np.isfinite(rows[at]).all():
                    return DayRow(rows[at], source)
        return None


def day_variance(own: DayMeasures, dates: Dates) -> Floats:
    """Return the variance of given days from their hours, (n,); NaN on a day without enough hours."""
    return _on(own.dates, own.variance[:, None], dates)[:, 0]


def _on(known: Dates, table: Floats, dates: Dates) -> Floats:
    """Return the rows of a table for other days, (n, K); NaN on days that the table lacks."""
    out = np.full((len(dates), table.shape[1]), np.nan)
    if len(known):
        at = (np.asarray(dates, dtype="datetime64[D]") - known[0]).astype(np.int64)
        inside = (at >= 0) & (at < len(known))
        out[inside] = table[at[inside]]
    return out
