"""Daily variance from single candles, and the volatility regime of a day.

All are variances of the daily log return (not annualised). Sources: Parkinson 1980; Garman and Klass 1980.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Candles, Floats

# The minimum variance (0.05 % a day, squared): days without any move of a pegged coin must not give intervals
# of zero width.
FLOOR_DAILY_VARIANCE = (5e-4) ** 2
_PARKINSON = 1.0 / (4.0 * np.log(2.0))
# One wick in a thin order book (chainlink fell to 1e-4 for a moment on 2020-03-13) is not volatility, so a
# day's variance is capped at this multiple of the geometric mean of the days before it plus twice its own
# squared return.
CAP_MULTIPLE = 20.0
CAP_DAYS = 30
CAP_MIN_DAYS = 5
TRAILING_MIN_DAYS = 7


def squared_returns(candles: Candles) -> Floats:
    """Return the squared log return of each day (n,); the first is NaN."""
    out = np.full(len(candles), np.nan)
    out[1:] = np.diff(np.log(candles.close)) ** 2
    return out


def _bounds(candles: Candles) -> tuple[Floats, Floats]:
    """Return log high and log low, widened to include the close; NaN where either is absent or invalid."""
    c = candles.close
    good = (candles.high > 0) & (candles.low > 0) & (candles.high >= candles.low)
    with np.errstate(invalid="ignore", divide="ignore"):
        high = np.where(good, np.log(np.maximum(candles.high, c)), np.nan)
        low = np.where(good, np.log(np.minimum(candles.low, c)), np.nan)
    return high, low


def parkinson_variance(candles: Candles) -> Floats:
    """Return Parkinson range variance (n,): (log high - log low)^2 / (4 log 2); NaN without high and low."""
    high, low = _bounds(candles)
    return np.asarray(_PARKINSON * (high - low) ** 2)


def garman_klass_variance(candles: Candles) -> Floats:
    """Return the Garman-Klass variance (n,); NaN without open, high and low.

    It is half the squared range less (2 log 2 - 1) times the squared open-to-close return.
    """
    high, low = _bounds(candles)
    with np.errstate(invalid="ignore", divide="ignore"):
        body = np.log(candles.close) - np.log(np.where(candles.open > 0, candles.open, np.nan))
    return np.asarray(np.maximum(0.5 * (high - low) ** 2 - (2 * np.log(2.0) - 1) * body**2, 0.0))


def daily_variance(candles: Candles) -> Floats:
    """Return the daily variance (n,): the mean of Parkinson and Garman-Klass, else the squared return.

    All three have about the same expectation, so the squared return can replace a missing range. The first
    row of a coin without ranges is NaN. Values are at least FLOOR_DAILY_VARIANCE, and capped by the CAP_DAYS
    days before them (see CAP_MULTIPLE), so a value depends on that many earlier rows.
    """
    parkinson, squared = parkinson_variance(candles), squared_returns(candles)
    both = 0.5 * (parkinson + garman_klass_variance(candles))
    ranges = np.where(np.isfinite(both), both, parkinson)
    best = np.where(np.isfinite(ranges), ranges, squared)
    floored = np.where(np.isfinite(best), np.maximum(best, FLOOR_DAILY_VARIANCE), np.nan)
    return _capped(floored, squared)


def _capped(variance: Floats, squared: Floats) -> Floats:
    """Return the variance, capped as described at CAP_MULTIPLE."""
    known = np.isfinite(variance)
    logs = np.where(known, np.log(np.where(known, variance, 1.0)), 0.0)
    total, count = _sums_before(logs), _sums_before(known.astype(np.float64))
    enough = count >= CAP_MIN_DAYS
    usual = np.exp(total / np.where(enough, count, 1.0))
    limit = np.where(enough, CAP_MULTIPLE * usual + 2.0 * np.nan_to_num(squared), np.inf)
    return np.where(known, np.minimum(variance, limit), np.nan)


def _sums_before(x: Floats) -> Floats:
    """Return the sum over the CAP_DAYS rows before each row, without the row itself."""
    sums = np.convolve(x, np.ones(CAP_DAYS))[: len(x)]
    return np.concatenate([[0.0], sums[:-1]]) if len(x) else sums


def trailing_volatility(variance: Floats, horizons: Sequence[int]) -> Floats:
    """Return realised daily volatility over the last max(7, h) days of a variance (n,), (H,).

    It is NaN where the history is shorter, or where more than a fifth of the days are unknown.
    """
    days = np.maximum(TRAILING_MIN_DAYS, np.asarray(horizons))
    newest_first = variance[::-1][: int(days.max())]
    known = np.isfinite(newest_first)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, newest_first, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    at = np.minimum(days, len(newest_first))
    enough = (days <= len(newest_first)) & (count[at] >= 0.8 * days)
    return np.where(enough, np.sqrt(total[at] / np.maximum(count[at], 1)), np.nan)


Regimes = npt.NDArray[np.int64]

REGIMES = 3
CALM = 0
RANK_DAYS = 600
RANK_MIN_DAYS = 60
REGIME_DECAY = 0.9


def volatility_regimes(variance: Floats, last: int | None = None) -> Regimes:
    """Return the regime of each day (n,), or of the `last` days only: 0 calm, 1 usual, 2 wild.

    The regime is the tercile of the day's exponential mean variance within the coin's own last RANK_DAYS
    days; it is usual while fewer than RANK_MIN_DAYS are known. The terciles use only data known on that day:
    with terciles of the whole history every model would look miscalibrated.
    """
    level = k.ewm_mean(variance, REGIME_DECAY, min_rows=10)
    padded = np.concatenate([np.full(RANK_DAYS - 1, np.nan), level])
    first = 0 if last is None else max(len(level) - last, 0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, RANK_DAYS)[first:]
    level = level[first:]
    known = np.isfinite(windows).sum(axis=1)
    below = (windows < level[:, None]).sum(axis=1)
    rank = below / np.maximum(known, 1)
    regime = np.minimum((rank * REGIMES).astype(np.int64), REGIMES - 1)
    return np.where((known >= RANK_MIN_DAYS) & np.isfinite(level), regime, 1)
