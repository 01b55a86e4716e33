"""Targets of the hourly model for every hour: the return to a horizon and the volatility until then."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.volatility import PRESENT_SHARE


def returns_ahead(log_close: Floats, known: Floats, horizon: int) -> Floats:
    """Return the log return over the next `horizon` rows, (n,); NaN where either end is unknown.

    Args:
        log_close: Logarithm of the close of each hour, (n,).
        known: Finite where the hour is known, else NaN, (n,).
        horizon: Hours ahead.
    """
    out = np.full(len(log_close), np.nan)
    if horizon < len(log_close):
        both = np.isfinite(known[horizon:]) & np.isfinite(known[:-horizon])
        out[:-horizon] = np.where(both, log_close[horizon:] - log_close[:-horizon], np.nan)
    return out


def log_volatility_ahead(variance: Floats, horizon: int) -> Floats:
    """Return half the log of the mean variance over rows i + 1 to i + horizon, (n,).

    NaN where fewer than PRESENT_SHARE of those hours are known.
    """
    known = np.isfinite(variance)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, variance, 0.0))])
    count = np.concatenate([[0.0], np.cumsum(known)])
    out = np.full(len(variance), np.nan)
    if horizon < len(variance):
        hours = count[horizon + 1 :] - count[1:-horizon]
        mean = (total[horizon + 1 :] - total[1:-horizon]) / np.maximum(hours, 1)
        enough = hours >= PRESENT_SHARE * horizon
        out[:-horizon] = np.where(enough, 0.5 * np.log(np.maximum(mean, 1e-16)), np.nan)
    return out
