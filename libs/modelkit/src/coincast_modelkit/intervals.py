"""Prediction intervals from residuals: weighted conformal sizes by volatility regime, never crossing.

A size is a quantile of the distance between outcome and forecast, in the scale of the forecast.

Split conformal prediction (Vovk et al. 2005) on absolute standardised residuals. Newer residuals have more
weight (Barber et al. 2023). The sizes are conditional on the regime (Mondrian), and those of a regime with
few residuals are shrunk towards the sizes of all regimes.
"""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.volatility import CALM, REGIMES, Regimes


def prior_sizes(levels: Floats, horizon: int) -> Floats:
    """Return quantiles of |Student t| of unit variance: 4 degrees of freedom at one day, 10 at thirty."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, and only fitting needs it

    freedom = 4 + 6 * (min(horizon, 30) - 1) / 29
    return np.asarray(stdtrit(freedom, (1 + levels) / 2) * np.sqrt((freedom - 2) / freedom))


def effective_rows(weights: Floats) -> float:
    """Return Kish's effective number of equally weighted rows."""
    return float(weights.sum() ** 2 / np.maximum((weights**2).sum(), 1e-300)) if len(weights) else 0.0


def weighted_sizes(residuals: Floats, weights: Floats, levels: Floats) -> Floats:
    """Return weighted quantiles of absolute residuals, zero at level 0.

    For levels beyond those that n rows can resolve, the largest residual is used, so that a model without
    error gets intervals of zero width.

    Args:
        residuals: Standardised residuals, (n,).
        weights: Their weights, (n,).
        levels: Levels in [0, 1), (L,).

    Returns:
        Sizes, (L,).
    """
    sizes = np.abs(residuals)
    order = np.argsort(sizes, kind="stable")
    sizes, share = sizes[order], weights[order]
    reached = (np.cumsum(share) - 0.5 * share) / share.sum()
    return np.where(levels <= 0, 0.0, np.interp(levels, reached, sizes))


def regime_sizes(
    residuals: Floats,
    weights: Floats,
    regimes: Regimes,
    levels: Floats,
    *,
    prior_rows: float,
    groups: int = REGIMES,
) -> Floats:
    """Return the sizes of each regime, shrunk towards the sizes of all rows.

    Args:
        residuals: Standardised residuals, (n,).
        weights: Their weights, (n,).
        regimes: Regime of each row, 0 to groups - 1, (n,).
        levels: Levels in [0, 1), (L,).
        prior_rows: Weight of the sizes of all rows, as a number of effective rows.
        groups: Number of regimes.

    Returns:
        Sizes, (groups, L).

    Raises:
        ValueError: There is no residual.
    """
    if not len(residuals):
        raise ValueError("no residuals to calibrate on")
    pooled = weighted_sizes(residuals, weights, levels)
    out = np.repeat(pooled[None], groups, axis=0)
    for regime in range(groups):
        chosen = regimes == regime
        if chosen.sum() < 30:
            continue
        rows = effective_rows(weights[chosen])
        own = weighted_sizes(residuals[chosen], weights[chosen], levels)
        out[regime] = (rows * own + prior_rows * pooled) / (rows + prior_rows)
    return np.maximum.accumulate(out, axis=1)


def cautious_factors(factors: Floats) -> Floats:
    """Return factors of sizes by regime (REGIMES,); a factor below 1 of the calm regime is halved in logs.

    Calm days form few independent periods, so the outcomes that a factor was learnt from may not include a
    crash like the one that ends the next calm period. The rule was chosen on days before 2022, where it makes
    the coverage more even at no cost.
    """
    out = np.array(factors, dtype=np.float64)
    out[CALM] = max(out[CALM], np.sqrt(out[CALM]))
    return out


def symmetric_quantiles(sizes: Floats) -> Floats:
    """Return quantiles (..., Q) of a symmetric distribution from its sizes (..., (Q + 1) / 2).

    The first size is the one at level 0.
    """
    return np.concatenate([-sizes[..., :0:-1], np.zeros_like(sizes[..., :1]), sizes[..., 1:]], axis=-1)
