"""Baselines of hourly forecasts: a 7-day Gaussian, and GARCH(1,1)-t with filtered historical simulation.

`arch` fits the GARCH on the trailing year of hourly returns, every 90 days. Each residual gets a random sign,
as in the daily baseline, so that the simulation has no drift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.candles import HOURS_A_DAY
from coincast_modelkit.hourly.model import ANCHORS, LEVELS
from coincast_modelkit.hourly.volatility import trailing_mean
from coincast_training.evaluation.baselines.garch import Parameters, fit_parameters

GAUSSIAN_HOURS = 168
GARCH_COINS = ("bitcoin", "ethereum")
GARCH_YEAR_HOURS = 365 * HOURS_A_DAY
GARCH_REFIT_HOURS = 90 * HOURS_A_DAY
MIN_RETURNS = 90 * HOURS_A_DAY
PATHS = 1000
BURN_IN = 200
GAUSSIAN_SIZES = np.asarray(ndtri((1 + LEVELS) / 2))


def gaussian_log_scales(step_returns: Floats) -> Floats:
    """Return the log standard deviation (K, n, A) of the last 168 returns, scaled by the root of time."""
    variance = np.stack([trailing_mean(r**2, GAUSSIAN_HOURS) for r in step_returns])
    log_hour = 0.5 * np.log(np.maximum(variance, 1e-16))
    return np.asarray(log_hour[..., None] + 0.5 * np.log(np.array(ANCHORS)))


def garch_sizes(step_returns: Floats, origins: NDArray[np.int64], seed: int) -> Floats:
    """Return the quantiles (m, A, L) of the absolute return at LEVELS from each origin, by GARCH-t FHS.

    Args:
        step_returns: Hourly log returns of one coin, (n,); a missing hour counts as a return of 0.
        origins: Rows of the forecasts, increasing, (m,). A forecast is made at the close of the hour of its
            row.
        seed: Seed of the simulation.

    Returns:
        The quantiles; NaN with fewer than MIN_RETURNS returns before the fit.
    """
    returns = 100 * np.nan_to_num(step_returns)
    first = int(np.argmax(np.isfinite(step_returns)))
    out = np.full((len(origins), len(ANCHORS), len(LEVELS)), np.nan)
    rng = np.random.default_rng(seed)
    cut = int(origins[0]) + 1
    while cut <= origins[-1] + 1:
        stop = cut + GARCH_REFIT_HOURS
        chosen = np.flatnonzero((origins + 1 >= cut) & (origins + 1 < stop))
        begin = max(first, cut - GARCH_YEAR_HOURS)
        known = returns[begin:cut]
        if len(known) >= MIN_RETURNS and len(chosen):
            fitted = fit_parameters(known, "t")
            until = int(origins[chosen[-1]]) + 1
            variances = fitted.filtered(returns[begin:until], float(known.var()))
            residuals = (known / np.sqrt(variances[: len(known)]))[BURN_IN:]
            out[chosen] = _simulate(fitted, residuals, variances[origins[chosen] + 1 - begin], rng)
        cut = stop
    return out


def _simulate(fitted: Parameters, residuals: Floats, tomorrow: Floats, rng: np.random.Generator) -> Floats:
    """Simulate paths from variances `tomorrow` (m,), with random signs; return sizes (m, A, L)."""
    sampled = residuals[rng.integers(len(residuals), size=(max(ANCHORS), PATHS))]
    sampled *= rng.choice([-1.0, 1.0], size=sampled.shape)
    variance = np.repeat(tomorrow[:, None], PATHS, axis=1)
    path = np.zeros_like(variance)
    out = np.empty((len(tomorrow), len(ANCHORS), len(LEVELS)))
    for step in range(max(ANCHORS)):
        shock = np.sqrt(variance) * sampled[step]
        path += shock
        variance = fitted.omega + fitted.alpha * shock**2 + fitted.beta * variance
        if step + 1 in ANCHORS:
            sizes = np.quantile(np.abs(path) / 100, LEVELS, axis=1).T
            sizes[:, 0] = 0.0
            out[:, ANCHORS.index(step + 1)] = sizes
    return out
