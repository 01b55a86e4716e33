"""Classify the volatility regime of each hour by the coin's own last three months."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.volatility import REGIMES, Regimes

# Three months, which the history of a free CoinGecko plan covers.
RANK_DAYS = 90
RANK_MIN_DAYS = 30
RANK_STEP_HOURS = 24
RANK_MEMORY_HOURS = (RANK_DAYS - 1) * RANK_STEP_HOURS


def hourly_regimes(level: Floats) -> Regimes:
    """Return the tercile of the last day's log volatility among those of the last RANK_DAYS days, (n,).

    0 is calm, 1 usual, 2 wild; it is usual while fewer than RANK_MIN_DAYS are known. The last 24 hours are
    compared with those that ended at the same hour of earlier days, which needs only RANK_DAYS comparisons.

    Args:
        level: Log volatility of the 24 hours that end with each hour, (n,).
    """
    out = np.ones(len(level), dtype=np.int64)
    for offset in range(min(RANK_STEP_HOURS, len(level))):
        own = level[offset::RANK_STEP_HOURS]
        padded = np.concatenate([np.full(RANK_DAYS - 1, np.nan), own])
        windows = np.lib.stride_tricks.sliding_window_view(padded, RANK_DAYS)
        out[offset::RANK_STEP_HOURS] = _terciles(windows, own)
    return out


def newest_regime(level: Floats) -> int:
    """Return the regime of the newest hour only, from at least the last RANK_MEMORY_HOURS levels, (n,)."""
    own = level[::-1][::RANK_STEP_HOURS][:RANK_DAYS][::-1]
    return int(_terciles(own[None], own[-1:])[0])


def _terciles(windows: Floats, level: Floats) -> Regimes:
    known = np.isfinite(windows).sum(axis=1)
    below = (windows < level[:, None]).sum(axis=1)
    tercile = np.minimum(below * REGIMES // np.maximum(known, 1), REGIMES - 1)
    return np.where((known >= RANK_MIN_DAYS) & np.isfinite(level), tercile, 1).astype(np.int64)
