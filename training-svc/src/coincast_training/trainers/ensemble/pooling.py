"""Fit the weights of the members and the sizes of the residuals on out-of-sample forecasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from coincast_modelkit.intervals import effective_rows, prior_sizes, regime_sizes, weighted_sizes
from coincast_modelkit.models.ensemble.horizon_pool import Pool
from coincast_modelkit.models.ensemble.model import LEVELS
from coincast_modelkit.volatility import REGIMES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MIN_ROWS = 200
AT_80 = int(np.argmin(np.abs(LEVELS - 0.8)))
FREEDOM = 5.0
# Larger errors of the log volatility are clipped to this value in the moments of the outlook.
MAX_LOG_ERROR = 2.0


@dataclass(frozen=True, slots=True)
class PoolParams:
    """Parameters of the pool. Strengths of shrinkage are in days of one coin; overlapping days count once.

    Attributes:
        prior: Prior weights of the classical and boosted members.
        prior_days: Strength of the shrinkage of the weights to the prior.
        regime_days: Strength of the shrinkage of the weights of a regime to those of all regimes.
        half_life_days: Age at which an outcome has half the weight.
        correction_periods: Half-life for the correction of the sizes, in periods of the horizon; at most
            half_life_days.
        tail_periods: Half-life for the shape of the tail beyond 80 %, in periods of the horizon; at most
            half_life_days.
        size_prior_days: Strength of the shrinkage of the sizes of a regime to those of all regimes, and of
            the tail to that of all years.
        max_weight: Upper bound of each weight; the lower bound is 0.
    """

    prior: tuple[float, ...] = (0.2, 0.1, 0.135, 0.2, 0.135, 0.07, 0.07, 0.09)
    prior_days: float = 50.0
    regime_days: float = 200.0
    half_life_days: float = 730.0
    correction_periods: float = 180.0
    tail_periods: float = 180.0
    size_prior_days: float = 100.0
    max_weight: float = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class PoolHistory:
    """Out-of-sample forecasts of M members and their outcomes, n rows.

    Attributes:
        members: Log scales that the members forecast, (n, M).
        returns: Log returns over the horizon, (n,).
        log_volatility: Log volatility over the horizon, (n,).
        regime: Volatility regime, (n,).
        weekend: 1 if the next day is on a weekend, else 0, (n,).
        day: Day of the origin since 1970, (n,).
        outlook: Mean log volatility that the members forecast, (n,).
        random_sign_returns: Returns over the horizon whose hourly returns have random signs, (n, K). The
            weights are fitted on them, or on `returns` if K is 0.
    """

    members: Floats
    returns: Floats
    log_volatility: Floats
    regime: Ints
    weekend: Ints
    day: Ints
    outlook: Floats
    random_sign_returns: Floats


def fit_pool(seen: PoolHistory, horizon: int, cut: int, params: PoolParams, prior: Floats) -> Pool:
    """Fit the pool on the outcomes known on day `cut`; with fewer than MIN_ROWS, the weights are the prior.

    Args:
        seen: Out-of-sample forecasts of the members, with outcomes.
        horizon: Days ahead.
        cut: The newest known day, since 1970.
        params: Parameters of the pool.
        prior: Prior weights (M,).
    """
    known = (seen.day + horizon <= cut) & np.isfinite(seen.returns) & np.isfinite(seen.members).all(axis=1)
    if known.sum() < MIN_ROWS:
        sizes = np.repeat(prior_sizes(LEVELS, horizon)[None], REGIMES, axis=0)
        alike = np.ones((2, len(LEVELS)))
        return Pool(
            weights=np.repeat(prior[None], REGIMES, axis=0),
            sizes=sizes,
            weekend=alike,
            outlook_offset=0.0,
            outlook_error=0.28 + 0.27 / horizon,
            outlook_factor=1.05,
        )
    members, returns, regime = seen.members[known], seen.returns[known], seen.regime[known]
    signed = seen.random_sign_returns
    targets = signed[known] if signed.shape[1] else returns[:, None]
    recency = 0.5 ** ((cut - seen.day[known]) / params.half_life_days)
    pooled = _fit_columns(
        members,
        targets,
        recency / horizon,
        prior=prior,
        strength=params.prior_days,
        max_weight=params.max_weight,
    )
    weights = np.stack(
        [
            _fit_columns(
                members[regime == r],
                targets[regime == r],
                recency[regime == r] / horizon,
                prior=pooled,
                strength=params.regime_days,
                max_weight=params.max_weight,
            )
            for r in range(REGIMES)
        ]
    )
    scale = (members * weights[regime]).sum(axis=1)
    residuals, prior_rows = returns / np.exp(scale), params.size_prior_days * horizon
    sizes = regime_sizes(residuals, recency, regime, LEVELS, prior_rows=prior_rows)
    sizes = _with_newer_tail(sizes, residuals, cut - seen.day[known], horizon, params)
    error = _clip(seen.log_volatility[known] - seen.outlook[known])
    offset = float(np.average(error, weights=recency))
    return Pool(
        weights=weights,
        sizes=sizes,
        weekend=_weekend_ratios(residuals, recency, seen.weekend[known], horizon, prior_rows),
        outlook_offset=offset,
        outlook_error=float(max(np.sqrt(np.average((error - offset) ** 2, weights=recency)), 1e-3)),
        outlook_factor=float(np.sqrt(np.average(np.exp(2 * (error - offset)), weights=recency))),
    )


def _clip(error: Floats) -> Floats:
    """Clip errors of log volatility (n,) to at most MAX_LOG_ERROR from their median."""
    middle = float(np.median(error))
    return np.asarray(np.clip(error, middle - MAX_LOG_ERROR, middle + MAX_LOG_ERROR))


def correction(shares: Floats, age_days: Ints, horizon: int, params: PoolParams) -> float:
    """Return the factor of the sizes for a coverage of 80 %; newer outcomes have a higher weight.

    The residuals of the data that a pool is fitted on are too small, and their level drifts. This is
    therefore a conformal calibration on out-of-sample forecasts (after Gibbs and Candes 2021, in steps of a
    refit). Short horizons have more independent outcomes per year, so their factor follows a change of level
    sooner.

    Args:
        shares: Absolute returns divided by half their out-of-sample 80 % interval, (n,).
        age_days: Age of each outcome, (n,).
        horizon: Days ahead.
        params: Half-lives.

    Returns:
        The factor; 1 with fewer than MIN_ROWS outcomes.
    """
    if len(shares) < MIN_ROWS:
        return 1.0
    half_life = min(params.correction_periods * horizon, params.half_life_days)
    recency = 0.5 ** (age_days / half_life)
    return float(weighted_sizes(shares, recency, np.array([0.8]))[0])


def _with_newer_tail(
    sizes: Floats, residuals: Floats, age_days: Ints, horizon: int, params: PoolParams
) -> Floats:
    """Return the sizes (REGIMES, L), beyond 80 % in the proportions of the newer residuals of all regimes.

    How much heavier the tail is than the middle drifts: after years with crashes the tail was too heavy, and
    before them too light. The half-life was chosen on the years before 2022, by exceedances and losses beyond
    the value at risk (docs/risk-method.md). Long horizons have too few independent outcomes for it.

    Args:
        sizes: Sizes by regime (REGIMES, L), from all residuals.
        residuals: Residuals in units of the forecast scale, (n,).
        age_days: Age of each residual, (n,).
        horizon: Days ahead.
        params: Half-lives, and the strength of the shrinkage to `sizes`.
    """
    half_life = params.tail_periods * horizon
    if half_life >= params.half_life_days:
        return sizes
    recency = 0.5 ** (age_days / half_life)
    shape = weighted_sizes(residuals, recency, LEVELS)
    if shape[AT_80] <= 0:
        return sizes
    rows, prior_rows = effective_rows(recency), params.size_prior_days * horizon
    newer = sizes[:, [AT_80]] * shape[AT_80:] / shape[AT_80]
    out = sizes.copy()
    out[:, AT_80:] = (rows * newer + prior_rows * sizes[:, AT_80:]) / (rows + prior_rows)
    return out


def _weekend_ratios(
    residuals: Floats, recency: Floats, weekend: Ints, horizon: int, prior_rows: float
) -> Floats:
    """Return the sizes of working days and weekends relative to all days, (2, L); 1 beyond one day ahead."""
    if horizon > 1:
        return np.ones((2, len(LEVELS)))
    own = regime_sizes(residuals, recency, weekend, LEVELS, prior_rows=prior_rows, groups=2)
    pooled = weighted_sizes(residuals, recency, LEVELS)
    return np.where(pooled > 0, own / np.where(pooled > 0, pooled, 1.0), 1.0)


def _fit_columns(
    members: Floats, targets: Floats, rows: Floats, *, prior: Floats, strength: float, max_weight: float
) -> Floats:
    """Fit the weights (M,) with `fit_weights` on all K columns of `targets` (n, K); each counts 1 / K."""
    draws = targets.shape[1]
    known = np.isfinite(targets).all(axis=1)
    return fit_weights(
        np.tile(members[known], (draws, 1)),
        targets[known].T.reshape(-1),
        np.tile(rows[known], draws) / draws,
        prior=prior,
        strength=strength,
        max_weight=max_weight,
    )


def fit_weights(
    members: Floats, returns: Floats, rows: Floats, *, prior: Floats, strength: float, max_weight: float
) -> Floats:
    """Return the weights (M,) of a log pool of scales.

    They maximise a ridge-penalised Student t likelihood; they are at least 0 and sum to 1.

    Args:
        members: Log scales (n, M).
        returns: Log returns (n,).
        rows: Weight of each outcome (n,).
        prior: Prior weights (M,).
        strength: Strength of the shrinkage to the prior, in outcomes.
        max_weight: Upper bound of each weight.
    """
    if not len(returns):
        return prior
    squares = returns**2
    sum_strength = 1000.0 * (strength + rows.sum())

    def loss(x: Floats) -> tuple[float, Floats]:
        scale = members @ x[:-1] + x[-1]
        share = squares * np.exp(-2 * scale) / FREEDOM
        slope = rows * (1 - (FREEDOM + 1) * share / (1 + share))
        gap, excess = x[:-1] - prior, x[:-1].sum() - 1
        value = rows @ (scale + (FREEDOM + 1) / 2 * np.log1p(share))
        value += strength * gap @ gap + sum_strength * excess**2
        gradient = members.T @ slope + 2 * strength * gap + 2 * sum_strength * excess
        return float(value), np.append(gradient, slope.sum())

    bounds = [(0.0, max_weight)] * len(prior) + [(-3.0, 3.0)]
    found = minimize(loss, np.append(prior, 0.0), jac=True, method="L-BFGS-B", bounds=bounds).x[:-1]
    return np.asarray(found / found.sum())
