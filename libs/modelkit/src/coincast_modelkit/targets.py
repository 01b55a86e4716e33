"""Targets of the daily models for every origin: the return to each horizon and the volatility until then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.volatility import daily_variance


def log_returns_ahead(candles: Candles, horizons: Sequence[int]) -> Floats:
    """Return log(close[i + h] / close[i]) for every row and horizon, (n, H); NaN beyond the last day."""
    logs = np.log(candles.close)
    out = np.full((len(candles), len(horizons)), np.nan)
    for j, h in enumerate(horizons):
        if h < len(logs):
            out[:-h, j] = logs[h:] - logs[:-h]
    return out


def log_volatility_ahead(candles: Candles, horizons: Sequence[int]) -> Floats:
    """Return the log of the root mean daily variance over rows i + 1 to i + h, (n, H).

    It is NaN where those days lie after the last one, or where fewer than 80 % of them are known.
    """
    variance = daily_variance(candles)
    missing = np.isnan(variance)
    total = np.concatenate([[0.0], np.cumsum(np.where(missing, 0.0, variance))])
    count = np.concatenate([[0], np.cumsum(~missing)])
    out = np.full((len(candles), len(horizons)), np.nan)
    for j, h in enumerate(horizons):
        if h < len(candles):
            known = count[h + 1 :] - count[1:-h]
            mean = (total[h + 1 :] - total[1:-h]) / np.maximum(known, 1)
            out[:-h, j] = np.where(known >= 0.8 * h, 0.5 * np.log(np.maximum(mean, 1e-12)), np.nan)
    return out
