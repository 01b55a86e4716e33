"""Estimate the corrections of a model from its out-of-sample outputs.

The corrections are weights of the outputs, the shape of the residuals, and the error of the volatility.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.distributions import ResidualShape, residual_shape
from coincast_training.trainers.training_table import Rows

MIN_ROWS = 40
# Larger errors of the log volatility are clipped to this value.
MAX_LOG_ERROR = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """Uncorrected outputs on m rows at A anchors, M of which forecast a mean.

    Attributes:
        at: Positions of the rows in the table, (m,).
        line: Log volatility by the regression, (m, A).
        extra: Correction of the log volatility by the model, (m, A); it gets a weight.
        scores: Mean returns in units of volatility, (m, M); they get weights.
        widen: Uncertainty of the model, (m, A), added to the log of the width but not to the volatility.
    """

    at: np.ndarray
    line: Floats
    extra: Floats
    scores: Floats
    widen: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Corrections:
    """Weights of `extra` (A,) and of `scores` (M,), shape of residuals, error of the log volatility (A,)."""

    volatility_weights: Floats
    mean_weights: Floats
    shape: ResidualShape
    volatility_errors: Floats


def correct(
    rows: Rows,
    anchors: tuple[int, ...],
    mean_anchors: tuple[int, ...],
    seen: Sequence[Outputs],
    last_close: np.datetime64,
) -> Corrections:
    """Estimate the corrections from out-of-sample outputs, on targets that ended by `last_close`.

    Args:
        rows: The training table.
        anchors: Horizons of the volatility in days.
        mean_anchors: Horizons of the mean in days.
        seen: Out-of-sample outputs of earlier folds.
        last_close: The newest close that is known.
    """
    pool = _joined(seen)
    errors, residuals, weights, blocks = [], [], [], []
    mean_weights = np.zeros(len(mean_anchors))
    for j, h in enumerate(anchors):
        ended = rows.origins[pool.at] + np.timedelta64(h, "D") <= last_close
        y = np.where(ended, rows.log_volatility[pool.at, rows.column(h)], np.nan)
        weight = _slope(pool.extra[:, j], y - pool.line[:, j])
        log_volatility = pool.line[:, j] + weight * pool.extra[:, j]
        scale = np.exp(log_volatility + pool.widen[:, j]) * np.sqrt(h)
        z = np.where(ended, rows.returns[pool.at, rows.column(h)] / scale, np.nan)
        if h in mean_anchors:
            m = mean_anchors.index(h)
            mean_weights[m] = _mean_weight(pool.scores[:, m], z, rows.origins[pool.at], h)
            z = z - mean_weights[m] * pool.scores[:, m]
        weights.append(weight)
        residuals.append(z)
        blocks.append(independent_blocks(rows, pool.at[np.isfinite(z)], h))
        errors.append(_spread(y - log_volatility, h))
    shape = residual_shape(anchors, residuals, blocks=blocks)
    return Corrections(np.array(weights), mean_weights, shape, np.array(errors))


def scores_of(
    rows: Rows, anchors: tuple[int, ...], chosen: tuple[int, ...], log_volatility: Floats
) -> Floats:
    """Return the returns at the chosen anchors in units of forecast volatility, (N, M), clipped at +-4."""
    out = [
        rows.returns[:, rows.column(h)] / (np.exp(log_volatility[:, anchors.index(h)]) * np.sqrt(h))
        for h in chosen
    ]
    return np.asarray(np.clip(np.stack(out, axis=1), -4, 4))


def without_overlap(rows: Rows, at: np.ndarray, horizon: int) -> np.ndarray:
    """Return rows a fifth of a horizon apart, since targets that overlap more add little information."""
    stride = max(1, horizon // 5)
    return np.asarray(at[rows.origins[at].astype(np.int64) % stride == 0])


def _joined(seen: Sequence[Outputs]) -> Outputs:
    names = ("at", "line", "extra", "scores", "widen")
    return Outputs(*(np.concatenate([getattr(r, f) for r in seen]) for f in names))


def independent_blocks(rows: Rows, at: np.ndarray, horizon: int) -> int:
    """Return the number of independent blocks in the rows `at`.

    It is the number of blocks of days, times the square root of the mean number of coins in a block. Coins
    move together, so ten coins count more than one coin, but less than ten times as much.
    """
    stretch = rows.origins[at].astype(np.int64) // horizon
    days = len(np.unique(stretch))
    pairs = len(np.unique(stretch * len(rows.coin_ids) + rows.coin[at]))
    return round(days * np.sqrt(pairs / days)) if days else 0


def _slope(x: Floats, y: Floats) -> float:
    """Return the slope of a regression of y on x through 0, divided by 1.1 and clipped to 0 to 1."""
    known = np.isfinite(x) & np.isfinite(y)
    square = float(x[known] @ x[known])
    return float(np.clip(x[known] @ y[known] / (1.1 * square), 0, 1)) if square > 0 else 0.0


def _mean_weight(score: Floats, outcome: Floats, origins: np.ndarray, horizon: int) -> float:
    """Return the weight of a mean forecast, from 0 to 1.

    It is the out-of-sample slope times 1 - 4 / t^2, and 0 for t up to 2. The error of t is computed over
    blocks of dates and not over rows, since coins move together and targets overlap over the horizon.
    """
    known = np.isfinite(score) & np.isfinite(outcome)
    if known.sum() < MIN_ROWS:
        return 0.0
    x, y = score[known], outcome[known]
    square = float(x @ x)
    if square <= 0:
        return 0.0
    slope = float(x @ y) / square
    blocks = origins[known].astype(np.int64) // max(7, 2 * horizon)
    _, block = np.unique(blocks, return_inverse=True)
    moments = np.bincount(block, weights=x * (y - slope * x))
    error = np.sqrt(float(moments @ moments)) / square
    t = slope / error if error > 0 else 0.0
    return float(np.clip(slope, 0, 1) * (1 - 4 / t**2)) if t > 2 else 0.0


def _spread(error: Floats, horizon: int) -> float:
    """Return the root mean square error of the log volatility; a default with fewer than 10 errors."""
    known = error[np.isfinite(error)]
    known = np.clip(known, -MAX_LOG_ERROR, MAX_LOG_ERROR)
    return float(np.sqrt(np.mean(known**2))) if len(known) >= 10 else 0.28 + 0.27 / horizon
