"""Compute the record of a version: accuracy of its walk-forward forecasts, compared with random walks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.artifact import HorizonRecord, Record
from coincast_modelkit.candles import Panel
from coincast_training.pipeline import losses
from coincast_training.trainers.base import WalkForward

Floats = NDArray[np.float64]
MIN_SIGMA = 1e-6
# With fewer periods the standard error is not reliable and is left out.
MIN_PERIODS = 5


def rows(forecast: WalkForward, chosen: NDArray[np.bool_]) -> WalkForward:
    """Return the chosen rows."""
    return WalkForward(
        coin_ids=forecast.coin_ids[chosen],
        origins=forecast.origins[chosen],
        horizons=forecast.horizons[chosen],
        last_prices=forecast.last_prices[chosen],
        probabilities=forecast.probabilities,
        log_return_quantiles=forecast.log_return_quantiles[chosen],
        actual_log_returns=forecast.actual_log_returns[chosen],
    )


def measure(forecast: WalkForward, panel: Panel, *, measured_at: float) -> Record:
    """Return the record of all horizons; leave out rows with missing values."""
    whole = np.isfinite(forecast.log_return_quantiles).all(axis=1) & np.isfinite(forecast.actual_log_returns)
    forecast = rows(forecast, whole)
    horizons = [
        _measure_horizon(rows(forecast, forecast.horizons == h), panel, int(h))
        for h in np.unique(forecast.horizons)
    ]
    some = len(forecast) > 0
    return Record(
        measured_at=measured_at,
        test_coins=tuple(str(coin_id) for coin_id in np.unique(forecast.coin_ids)),
        test_from=str(forecast.origins.min()) if some else "",
        test_to=str(forecast.origins.max()) if some else "",
        horizons=tuple(horizons),
    )


def _measure_horizon(forecast: WalkForward, panel: Panel, horizon: int) -> HorizonRecord:
    error, walk = losses.absolute_error(forecast), losses.random_walk_error(forecast)
    actual = losses.actual_prices(forecast)
    steps = _mean_steps(forecast, panel)
    periods = forecast.origins.astype("datetime64[D]").astype(np.int64) // horizon
    standard_error, independent = coverage_error(is_inside(forecast, 80), periods)
    return HorizonRecord(
        horizon_days=horizon,
        forecasts=len(forecast),
        mase=_mean_over_steps(error, steps),
        mape_percent=_mean(100 * error / actual),
        random_walk_mape_percent=_mean(100 * walk / actual),
        skill_percent=_skill(error / forecast.last_prices, walk / forecast.last_prices),
        crps_skill_percent=_crps_skill(forecast, panel, horizon),
        coverage_80_percent=coverage_percent(forecast, 80),
        coverage_95_percent=coverage_percent(forecast, 95),
        coverage_80_standard_error=standard_error,
        independent_periods=independent,
        random_walk_mase=_mean_over_steps(walk, steps),
    )


def coverage_percent(forecast: WalkForward, level_percent: float) -> float | None:
    """Return the share of outcomes inside the central interval, in percent; None without rows."""
    return _mean(100.0 * is_inside(forecast, level_percent))


def is_inside(forecast: WalkForward, level_percent: float) -> NDArray[np.bool_]:
    """Return whether each outcome is inside the central interval, (N,)."""
    tail = (1 - level_percent / 100) / 2
    lower, upper = losses.quantile_at(forecast, tail), losses.quantile_at(forecast, 1 - tail)
    return np.asarray((forecast.actual_log_returns >= lower) & (forecast.actual_log_returns <= upper))


def coverage_error(inside: NDArray[np.bool_], periods: NDArray[np.int64]) -> tuple[float | None, int | None]:
    """Return the standard error of a coverage, in percentage points, and the number of periods.

    Coins move together, and targets within one period overlap. The number of independent observations is
    therefore the number of periods, each as long as the horizon. Targets reach into the next period, so that
    the estimate of Newey and West has one lag.

    Args:
        inside: Whether each outcome is inside its interval, (n,).
        periods: Number of the period of each origin, (n,).

    Returns:
        The error is None with fewer than MIN_PERIODS periods; both are None without forecasts.
    """
    if not len(inside):
        return None, None
    _, at = np.unique(periods, return_inverse=True)
    means = np.bincount(at, weights=100.0 * inside) / np.bincount(at)
    count = len(means)
    if count < MIN_PERIODS:
        return None, count
    centred = means - means.mean()
    variance = float(centred @ centred) / count
    neighbours = float(centred[1:] @ centred[:-1]) / count
    return float(np.sqrt((variance + max(neighbours, 0.0)) / (count - 1))), count


def _mean_steps(forecast: WalkForward, panel: Panel) -> Floats:
    """Return the mean absolute one-day price change of each row's coin before the test, NaN if unknown.

    It is the denominator of the mean absolute scaled error (Hyndman and Koehler 2006).
    """
    steps = np.full(len(forecast), np.nan)
    for coin_id in np.unique(forecast.coin_ids):
        at = forecast.coin_ids == coin_id
        candles = panel[str(coin_id)]
        before = candles.close[candles.dates <= forecast.origins[at].min()]
        if len(before) > 1:
            steps[at] = np.abs(np.diff(before)).mean()
    return steps


def _mean_over_steps(error: Floats, steps: Floats) -> float | None:
    """Return the mean of the errors, each divided by its step; None without a known step."""
    known = np.isfinite(steps) & (steps > 0)
    return _mean(error[known] / steps[known])


def _crps_skill(forecast: WalkForward, panel: Panel, horizon: int) -> float | None:
    sigma = losses.trailing_volatility(forecast, panel) * np.sqrt(horizon)
    known = np.isfinite(sigma) & (sigma > MIN_SIGMA)
    kept = rows(forecast, known)
    return _skill(losses.crps(kept), losses.gaussian_crps(sigma[known], kept.actual_log_returns))


def _skill(loss: Floats, baseline: Floats) -> float | None:
    """Return 100 * (1 - mean loss / mean loss of the baseline); None if it is undefined."""
    if len(loss) == 0 or (scale := float(baseline.mean())) <= 0:
        return None
    return float(100 * (1 - loss.mean() / scale))


def _mean(values: NDArray[np.floating[Any]]) -> float | None:
    return float(values.mean()) if len(values) else None
