"""Scales of a forecast: the width of the return to each horizon, and of each single day until then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.distributions import across_horizons

# The central interval that defines the scale: wide enough to be stable, and far from the tails, which are
# estimated from few days.
SPREAD_LEVELS = (0.1, 0.9)
# Width of that interval under a standard normal distribution.
SPREAD_NORMAL = 2 * 1.2815515655446004
# Minimum variance of a single day, as a share of an even split of the variance over the days. Forecasts of
# two horizons come from two fits, so the difference of their variances may be near zero.
LEAST_DAY_SHARE = 0.3


def spread_of(quantiles: Floats, probabilities: Floats) -> Floats:
    """Return the scale of distributions given by their quantiles.

    Args:
        quantiles: Log-return quantiles, (..., Q).
        probabilities: Their probabilities, (Q,), increasing.

    Returns:
        The width of the central 80 % interval in units of a standard normal's, (...).
    """
    low, high = (_at(quantiles, probabilities, level) for level in SPREAD_LEVELS)
    return np.asarray((high - low) / SPREAD_NORMAL)


def horizon_scales(anchors: Sequence[int], scales: Floats, days: int) -> Floats:
    """Interpolate scales at anchor horizons to every horizon.

    The variance is linear in the horizon between anchors, zero at horizon zero, and never decreases.

    Args:
        anchors: Horizons in days, increasing, (A,).
        scales: Scale of the log return to each anchor, (..., A).
        days: The longest horizon; beyond the last anchor the variance continues on the last line.

    Returns:
        Scales at horizons 1 to `days`, (..., days).
    """
    known = np.concatenate([[0.0], np.asarray(anchors, dtype=np.float64)])
    variance = np.concatenate(
        [np.zeros((*scales.shape[:-1], 1)), np.asarray(scales, np.float64) ** 2], axis=-1
    )
    at = np.arange(1, days + 1, dtype=np.float64)
    left = np.clip(np.searchsorted(known, at, side="left") - 1, 0, len(known) - 2)
    share = (at - known[left]) / (known[left + 1] - known[left])
    out = variance[..., left] + share * (variance[..., left + 1] - variance[..., left])
    return np.asarray(np.sqrt(np.maximum.accumulate(np.maximum(out, 0.0), axis=-1)))


def quantiles_on_every_day(
    anchors: Sequence[int], quantiles: Floats, probabilities: Floats, days: int
) -> Floats:
    """Interpolate distributions at anchor horizons to every horizon, in the way of the models.

    Args:
        anchors: Horizons in days, increasing, (A,).
        quantiles: Log-return quantiles, (n, A, Q).
        probabilities: Their probabilities, (Q,).
        days: The longest horizon.

    Returns:
        Quantiles at horizons 1 to `days`, (n, days, Q): the daily scale in logs and the shape are both linear
        in the log of the horizon.
    """
    table = quantiles.swapaxes(0, 1)
    widths = spread_of(table, probabilities)
    roots = np.sqrt(np.asarray(anchors, dtype=np.float64))[:, None]
    horizons = range(1, days + 1)
    scale = np.exp(across_horizons(anchors, np.log(widths / roots), horizons))
    shape = across_horizons(anchors, table / widths[..., None], horizons)
    to_day = np.sqrt(np.arange(1, days + 1, dtype=np.float64))[:, None]
    return np.asarray(((scale * to_day)[..., None] * shape).swapaxes(0, 1))


def day_scales(scales: Floats) -> Floats:
    """Return the scale of each single day from the scales at every horizon.

    Args:
        scales: Scales at horizons 1 to H, (..., H).

    Returns:
        The root of each day's added variance, at least LEAST_DAY_SHARE of an even split, (..., H).
    """
    variance = scales**2
    added = np.diff(variance, axis=-1, prepend=0.0)
    days = np.arange(1, scales.shape[-1] + 1)
    return np.asarray(np.sqrt(np.maximum(added, LEAST_DAY_SHARE * variance / days)))


def _at(quantiles: Floats, probabilities: Floats, level: float) -> Floats:
    """Return the quantile at a level (...), linear between the stored probabilities."""
    right = int(np.clip(np.searchsorted(probabilities, level), 1, len(probabilities) - 1))
    share = (level - probabilities[right - 1]) / (probabilities[right] - probabilities[right - 1])
    return np.asarray(quantiles[..., right - 1] * (1 - share) + quantiles[..., right] * share)
