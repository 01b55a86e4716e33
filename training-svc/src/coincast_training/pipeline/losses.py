"""Losses of walk-forward forecasts and of their random-walk baselines, one for each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Panel
from coincast_training.trainers.base import WalkForward

Floats = NDArray[np.float64]
TRAILING_DAYS = 60


def crps(forecast: WalkForward) -> Floats:
    """Return the CRPS of the log return, (N,).

    It is twice the sum of the pinball losses of the quantiles, weighted by the probability of each quantile.
    """
    return quantile_crps(forecast.log_return_quantiles, forecast.probabilities, forecast.actual_log_returns)


def quantile_crps(quantiles: Floats, probabilities: Floats, actual: Floats) -> Floats:
    """Return the CRPS of distributions given by quantiles (N, Q) at probabilities (Q,).

    It is the integral of the quantile score over the probabilities.
    """
    edges = np.concatenate([[0.0], (probabilities[1:] + probabilities[:-1]) / 2, [1.0]])
    error = actual[:, None] - quantiles
    pinball = np.maximum(probabilities * error, (probabilities - 1) * error)
    return np.asarray(2 * (pinball * np.diff(edges)).sum(axis=1))


def quantile_at(forecast: WalkForward, probability: float) -> Floats:
    """Return the quantile at a probability, (N,), by linear interpolation between the stored ones."""
    p = forecast.probabilities
    right = int(np.clip(np.searchsorted(p, probability), 1, len(p) - 1))
    share = (probability - p[right - 1]) / (p[right] - p[right - 1])
    q = forecast.log_return_quantiles
    return np.asarray(q[:, right - 1] + share * (q[:, right] - q[:, right - 1]))


def absolute_error(forecast: WalkForward) -> Floats:
    """Return the absolute error of the median price, in currency, (N,)."""
    point = np.exp(quantile_at(forecast, 0.5))
    return np.asarray(forecast.last_prices * np.abs(np.exp(forecast.actual_log_returns) - point))


def random_walk_error(forecast: WalkForward) -> Floats:
    """Return the absolute error of a forecast of no change, in currency, (N,)."""
    return np.asarray(forecast.last_prices * np.abs(np.expm1(forecast.actual_log_returns)))


def actual_prices(forecast: WalkForward) -> Floats:
    """Return the actual prices, (N,)."""
    return np.asarray(forecast.last_prices * np.exp(forecast.actual_log_returns))


def trailing_volatility(forecast: WalkForward, panel: Panel) -> Floats:
    """Return the standard deviation of the last 60 daily log returns at each origin, (N,).

    It is NaN with fewer returns.
    """
    out = np.full(len(forecast), np.nan)
    for coin_id in np.unique(forecast.coin_ids):
        rows = np.flatnonzero(forecast.coin_ids == coin_id)
        candles = panel[str(coin_id)].on_every_day()
        returns = np.diff(np.log(candles.close))
        if len(returns) < TRAILING_DAYS:
            continue
        spans = np.lib.stride_tricks.sliding_window_view(returns, TRAILING_DAYS).std(axis=1)
        at = np.searchsorted(candles.dates, forecast.origins[rows]) - TRAILING_DAYS
        known = (at >= 0) & (at < len(spans))
        out[rows[known]] = spans[at[known]]
    return out


def gaussian_crps(sigma: Floats, actual: Floats) -> Floats:
    """Return the CRPS of a Gaussian with mean 0 (Gneiting and Raftery 2007, equation 5), (N,)."""
    from scipy.special import ndtr  # noqa: PLC0415 - slow to import, only used here

    z = actual / sigma
    return np.asarray(
        sigma * (z * (2 * ndtr(z) - 1) + 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi))
    )
