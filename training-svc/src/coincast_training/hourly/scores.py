"""CRPS and coverage of symmetric distributions, which are given by their sizes at LEVELS.

The size at a level is the quantile of the absolute return, in units of the scale.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.model import LEVELS

# The CRPS is the mean quantile score over this many equally weighted levels, as in the daily evaluation.
CRPS_LEVELS: Floats = (np.arange(100) + 0.5) / 100
_UPPER = CRPS_LEVELS[50:]
_CHUNK = 4096


def _upper_weights() -> tuple[np.ndarray, Floats]:
    """Return the left neighbours in LEVELS of the upper CRPS levels, and the weights of the right ones."""
    known, wanted = ndtri((1 + LEVELS) / 2), ndtri(_UPPER)
    left = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, len(known) - 2)
    return left, (wanted - known[left]) / (known[left + 1] - known[left])


_LEFT, _SHARE = _upper_weights()
_AT_80 = int(np.argmin(np.abs(LEVELS - 0.8)))


def crps(returns: Floats, scale: Floats, sizes: Floats) -> Floats:
    """Return the CRPS (n,) of returns (n,), for a scale (n,) and sizes (L,) or (n, L) at LEVELS."""
    out = np.empty(len(returns))
    for start in range(0, len(returns), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = sizes[part] if sizes.ndim == 2 else sizes[None]
        upper = own[:, _LEFT] + _SHARE * (own[:, _LEFT + 1] - own[:, _LEFT])
        quantiles = scale[part, None] * np.concatenate([-upper[:, ::-1], upper], axis=1)
        error = returns[part, None] - quantiles
        out[part] = 2 * np.mean(np.where(error > 0, CRPS_LEVELS, CRPS_LEVELS - 1) * error, axis=1)
    return out


def inside_80(returns: Floats, scale: Floats, sizes: Floats) -> np.ndarray:
    """Return whether returns (n,) are within the 80 % interval, (n,)."""
    return np.asarray(np.abs(returns) <= scale * sizes[..., _AT_80])
