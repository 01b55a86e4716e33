"""Rolling statistics of one series. Row i depends only on row i and earlier rows within the window.

Every function takes and returns float64 arrays (n,). Up to a fifth of the rows of a window may be NaN (absent
days); the statistic is then that of the other rows. With more absent rows the result is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from coincast_modelkit.candles import Floats

PRESENT_SHARE = 0.8


def shift(x: Floats, days: int) -> Floats:
    """Return the value of `days` rows ago; NaN before the start."""
    out = np.full(len(x), np.nan)
    if days < len(x):
        out[days:] = x[: len(x) - days]
    return out


def difference(x: Floats, days: int) -> Floats:
    """Return x minus its value of `days` rows ago."""
    return x - shift(x, days)


def weighted_mean(x: Floats, weights: Floats, *, min_rows: int | None = None) -> Floats:
    """Return the weighted mean of the last rows, (n,).

    Args:
        x: A series, (n,).
        weights: Weights of the window, the newest row's first.
        min_rows: Number of rows that the first value needs; by default the whole window.
    """
    n, w = len(x), len(weights)
    rows_needed = w if min_rows is None else min_rows
    out = np.full(n, np.nan)
    missing = np.isnan(x)
    if n < rows_needed or missing.all():
        return out
    first = int(missing.argmin())
    reach = np.cumsum(weights)
    rows = np.arange(first, n)
    possible = reach[np.minimum(rows, w - 1)]
    if missing[first:].any():
        total = np.convolve(np.where(missing, 0.0, x)[first:], weights)[: n - first]
        weight = np.convolve(np.where(missing, 0.0, 1.0)[first:], weights)[: n - first]
    else:
        # Only rows before the first known one are absent, so the total weight is a prefix sum of the weights.
        total = np.convolve(x[first:], weights)[: n - first]
        weight = reach[np.minimum(rows - first, w - 1)]
    enough = (weight >= PRESENT_SHARE * possible) & (rows >= rows_needed - 1) & (weight > 0)
    out[rows[enough]] = total[enough] / weight[enough]
    return out


def rolling_mean(x: Floats, window: int) -> Floats:
    """Return the simple mean of the last `window` rows."""
    return weighted_mean(x, np.ones(window))


def ewm_mean(x: Floats, decay: float, *, min_rows: int) -> Floats:
    """Return the exponentially weighted mean; weights decay**age below 1e-5 are left out.

    With the cut, the value depends on a known number of days (`ewm_memory`), so serving, which has less
    history than training, computes the same number.

    Args:
        x: A series, (n,).
        decay: Weight of a day relative to the next newer one, in (0, 1).
        min_rows: Number of rows that the first value needs.
    """
    return weighted_mean(
        x, np.power(decay, np.arange(ewm_memory(decay), dtype=np.float64)), min_rows=min_rows
    )


def ewm_memory(decay: float) -> int:
    """Return the number of rows that `ewm_mean` with this decay depends on."""
    return math.ceil(math.log(1e-5) / math.log(decay))


def rolling_std(x: Floats, window: int) -> Floats:
    """Return the standard deviation (divisor n) of the last `window` rows."""
    out = np.full(len(x), np.nan)
    if len(x) < window:
        return out
    windows = sliding_window_view(x, window)
    present = np.isfinite(windows)
    count = present.sum(axis=-1)
    safe = np.maximum(count, 1)
    mean = np.where(present, windows, 0.0).sum(axis=-1) / safe
    around = np.where(present, windows - mean[:, None], 0.0)
    spread = np.sqrt((around * around).sum(axis=-1) / safe)
    out[window - 1 :] = np.where(count >= PRESENT_SHARE * window, spread, np.nan)
    return out


def _over_windows(x: Floats, window: int, reduce: np.ufunc, empty: float) -> Floats:
    out = np.full(len(x), np.nan)
    if len(x) < window:
        return out
    missing = np.isnan(x)
    filled = np.where(missing, empty, x)
    out[window - 1 :] = reduce.reduce(sliding_window_view(filled, window), axis=-1)
    if missing.any():
        present = np.convolve((~missing).astype(np.float64), np.ones(window))[: len(x)]
        out[present < PRESENT_SHARE * window] = np.nan
    return out


def rolling_max(x: Floats, window: int) -> Floats:
    """Return the largest of the last `window` rows."""
    return _over_windows(x, window, np.maximum, -np.inf)


def rolling_min(x: Floats, window: int) -> Floats:
    """Return the smallest of the last `window` rows."""
    return _over_windows(x, window, np.minimum, np.inf)


def ratio(a: Floats, b: Floats) -> Floats:
    """Return a / b, NaN where b is zero or either is absent."""
    out = np.full(np.broadcast(a, b).shape, np.nan)
    np.divide(a, b, out=out, where=(b != 0) & np.isfinite(b))
    out[~np.isfinite(out)] = np.nan
    return out


def log_of(x: Floats) -> Floats:
    """Return the natural logarithm, NaN where x is not above zero."""
    out = np.full(x.shape, np.nan)
    np.log(x, out=out, where=x > 0)
    return out


def column_mean(table: Floats) -> Floats:
    """Return the mean of the known values of each column (n,) of a table (m, n); NaN where there are none."""
    known = np.isfinite(table)
    return ratio(np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))
