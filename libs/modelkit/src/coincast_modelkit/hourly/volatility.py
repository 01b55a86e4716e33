"""Variance of single hours, and its means over the last hours, which leave out missing hours.

Parkinson 1980; Garman and Klass 1980. Summed hourly ranges are the most precise measure of a day's variance
that hourly candles give. Measured as the variance of the error of half the log, against five-minute realised
variance: 0.005 for summed hourly ranges, 0.027 for summed squared hourly returns, 0.058 for the day's range.
"""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.volatility import FLOOR_DAILY_VARIANCE

# The minimum of an hour's variance: a 24th of the minimum of a day.
FLOOR_HOURLY_VARIANCE = FLOOR_DAILY_VARIANCE / 24
# One wick in a thin order book is not volatility, so an hour's variance is capped at this multiple of the
# mean of the hours before it plus twice its own squared return.
CAP_MULTIPLE = 100.0
CAP_HOURS = 240
CAP_MIN_HOURS = 24
PRESENT_SHARE = 0.8


def hourly_returns(candles: HourlyCandles) -> Floats:
    """Return the log return of every known hour from the last known close before it, (n,).

    The return over a gap is assigned, without rescaling, to the first hour after the gap. Missing hours and
    the first row are NaN.
    """
    out = np.full(len(candles), np.nan)
    if len(candles):
        out[1:] = np.where(candles.known[1:], np.diff(candles.log_close), np.nan)
    return out


def hourly_variance(candles: HourlyCandles, *, ranges: bool = True) -> Floats:
    """Return the variance of every known hour's log return, (n,): the mean of Parkinson and Garman-Klass.

    For an hour without high and low, or if `ranges` is False, it is the squared return. It is NaN in missing
    hours and never below FLOOR_HOURLY_VARIANCE.
    """
    squared = hourly_returns(candles) ** 2
    if not ranges:
        return np.asarray(np.maximum(squared, FLOOR_HOURLY_VARIANCE))
    with np.errstate(invalid="ignore", divide="ignore"):
        good = (candles.low > 0) & (candles.high >= candles.low)
        high = np.log(np.where(good, np.fmax(candles.high, candles.close), np.nan))
        low = np.log(np.where(good, np.fmin(candles.low, candles.close), np.nan))
        body = np.log(candles.close) - np.log(np.where(candles.open > 0, candles.open, np.nan))
    span = (high - low) ** 2
    parkinson = span / (4 * np.log(2.0))
    garman_klass = np.maximum(0.5 * span - (2 * np.log(2.0) - 1) * body**2, 0.0)
    both = np.where(np.isfinite(garman_klass), 0.5 * (parkinson + garman_klass), parkinson)
    variance = np.where(np.isfinite(both), both, squared)
    before = np.concatenate([[np.nan], trailing_mean(variance, CAP_HOURS, CAP_MIN_HOURS)[:-1]])
    limit = CAP_MULTIPLE * before[: len(variance)] + 2 * np.nan_to_num(squared)
    variance = np.where(np.isfinite(limit), np.minimum(variance, limit), variance)
    return np.asarray(np.maximum(variance, FLOOR_HOURLY_VARIANCE))


class TrailingMeans:
    """Trailing means of one series over windows of any length, without its missing values."""

    def __init__(self, x: Floats) -> None:
        known = np.isfinite(x)
        self._total = np.concatenate([[0.0], np.cumsum(np.where(known, x, 0.0))])
        self._count = np.concatenate([[0], np.cumsum(known)])

    def over(self, hours: int, *, min_hours: int | None = None, last: int | None = None) -> Floats:
        """Return the mean of the known values of the last `hours` rows, for every row, (n,).

        Args:
            hours: Length of the window.
            min_hours: Known values that a mean needs, else it is NaN; by default PRESENT_SHARE of the window.
            last: Return only this many of the last rows; None returns all.
        """
        n = len(self._total) - 1
        first = 0 if last is None else max(0, n - last)
        end = np.arange(first + 1, n + 1)
        start = np.maximum(end - hours, 0)
        count = self._count[end] - self._count[start]
        enough = count >= max(1, PRESENT_SHARE * hours if min_hours is None else min_hours)
        total = self._total[end] - self._total[start]
        return np.where(enough, total / np.maximum(count, 1), np.nan)


def trailing_mean(x: Floats, hours: int, min_hours: int | None = None) -> Floats:
    """Return the mean of the known values of the last `hours` rows, (n,); see TrailingMeans."""
    return TrailingMeans(x).over(hours, min_hours=min_hours)
