"""Classify the volatility regime of each day with the data known on that day."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k

Regimes = npt.NDArray[np.int64]

REGIMES = 3
CALM = 0
RANK_DAYS = 600
RANK_MIN_DAYS = 60
DECAY = 0.9


def volatility_regimes(variance: Floats, last: int | None = None) -> npt.NDArray[np.int64]:
    """Return the regime of each day (n,), or of the `last` days only: 0 calm, 1 usual, 2 wild.

    The regime is the tercile of the day's exponential mean variance within the coin's own last RANK_DAYS
    days; it is usual while fewer than RANK_MIN_DAYS are known. The terciles use only data known on that day:
    with terciles of the whole history every model would look miscalibrated.
    """
    level = k.ewm_mean(variance, DECAY, min_rows=10)
    padded = np.concatenate([np.full(RANK_DAYS - 1, np.nan), level])
    first = 0 if last is None else max(len(level) - last, 0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, RANK_DAYS)[first:]
    level = level[first:]
    known = np.isfinite(windows).sum(axis=1)
    below = (windows < level[:, None]).sum(axis=1)
    rank = below / np.maximum(known, 1)
    regime = np.minimum((rank * REGIMES).astype(np.int64), REGIMES - 1)
    return np.where((known >= RANK_MIN_DAYS) & np.isfinite(level), regime, 1)
