"""Outcome of each forecast, and the state of the coin on the day of the forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.volatility import daily_variance
from coincast_training.evaluation.baselines.har import realised_ahead, trailing_log
from coincast_training.evaluation.rows import Rows

Floats = NDArray[np.float64]
TERCILE_DAYS = 730
TERCILE_MIN_DAYS = 60
VOLATILITY_DAYS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Outcomes of n forecasts, (n,) each.

    Attributes:
        actual: Price at the end of the horizon.
        log_return: Log return from the origin to `actual`.
        realised: Realised variance over the horizon, from daily ranges or else squared returns.
        trailing: Trailing log volatility per day at the origin.
        tercile: Causal volatility tercile at the origin, from 0 (calm) to 2 (wild); -1 if unknown.
        last_return: Log return of the day of the origin.
        mean_step: Mean absolute one-day price change up to the origin.
    """

    actual: Floats
    log_return: Floats
    realised: Floats
    trailing: Floats
    tercile: NDArray[np.int64]
    last_return: Floats
    mean_step: Floats


def outcomes_of(rows: Rows, panel: Panel) -> Outcomes:
    """Return the outcomes in the order of the rows; NaN if the horizon has not ended."""
    n = len(rows)
    out = Outcomes(
        actual=np.full(n, np.nan),
        log_return=np.full(n, np.nan),
        realised=np.full(n, np.nan),
        trailing=np.full(n, np.nan),
        tercile=np.full(n, -1, dtype=np.int64),
        last_return=np.full(n, np.nan),
        mean_step=np.full(n, np.nan),
    )
    for coin, candles in panel.items():
        mine = rows.coin == coin
        steps = np.abs(np.diff(candles.close, prepend=candles.close[:1]))
        mean_step = np.cumsum(steps) / np.maximum(np.arange(len(candles)), 1)
        returns = k.difference(np.log(candles.close), 1)
        tercile = causal_terciles(candles)
        for h in np.unique(rows.horizon[mine]):
            chosen = np.flatnonzero(mine & (rows.horizon == h))
            at = (rows.origin[chosen] - candles.dates[0]).astype(np.int64)
            ahead = np.full(len(candles), np.nan)
            ahead[:-h] = candles.close[h:]
            out.actual[chosen] = ahead[at]
            out.log_return[chosen] = np.log(ahead[at] / candles.close[at])
            out.realised[chosen] = realised_ahead(candles, int(h))[at]
            out.trailing[chosen] = trailing_log(candles, int(h))[at]
            out.tercile[chosen] = tercile[at]
            out.last_return[chosen] = returns[at]
            out.mean_step[chosen] = mean_step[at]
    return out


def causal_terciles(candles: Candles) -> NDArray[np.int64]:
    """Return the tercile (n,) of each day's 30-day volatility within the two years up to that day.

    It is causal: no later day counts. It is -1 with fewer than TERCILE_MIN_DAYS known days.
    """
    level = k.rolling_mean(daily_variance(candles), VOLATILITY_DAYS)
    padded = np.concatenate([np.full(TERCILE_DAYS - 1, np.nan), level])
    windows = np.lib.stride_tricks.sliding_window_view(padded, TERCILE_DAYS)
    known = np.isfinite(windows).sum(axis=1)
    rank = (windows < level[:, None]).sum(axis=1) / np.maximum(known, 1)
    tercile = np.minimum((3 * rank).astype(np.int64), 2)
    return np.where((known >= TERCILE_MIN_DAYS) & np.isfinite(level), tercile, -1)
