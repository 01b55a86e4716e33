"""Fitting the two heads of the LightGBM model on the rows known by a day, and correcting them out of
sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.har import HarLine, fit_line
from coincast_modelkit.models.lightgbm import Head, LightgbmModel
from coincast_modelkit.models.residuals import residual_shape
from coincast_training.fitting.boosting import MIN_ROWS, boost
from coincast_training.fitting.lightgbm_params import LightgbmParams, TreeParams
from coincast_training.fitting.rows import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """Uncorrected outputs on m rows: `at` positions (m,), line and trees (m, A), scores of the mean (m, M).
    """

    at: np.ndarray
    line: Floats
    trees: Floats
    scores: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """A line and both heads with weights of one."""

    line: HarLine
    volatility: Head
    mean: Head

    def raw(self, rows: Rows, at: np.ndarray) -> Raw:
        """Outputs on some rows."""
        x = rows.features[at]
        return Raw(
            at, self.line.predict(x, rows.spec.names), self.volatility.predict(x), self.mean.predict(x)
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Training origins from `first`, targets ended by the close of `last_close` (both datetime64[D])."""

    first: np.datetime64
    last_close: np.datetime64

    def known(self, rows: Rows, horizon: int) -> np.ndarray:
        """Positions of the rows in the window whose target at a horizon had ended."""
        ended = rows.origins + np.timedelta64(horizon, "D") <= self.last_close
        return np.flatnonzero((rows.origins >= self.first) & ended)

    def divided(self, later_share: float) -> tuple[Window, Window]:
        """The earlier part and the later block; no target of the one reaches into the other."""
        days = int((self.last_close - self.first).astype(int))
        start = self.last_close - np.timedelta64(max(min(30, days // 4), round(later_share * days)), "D")
        return Window(self.first, start - np.timedelta64(1, "D")), Window(start, self.last_close)


def fit_heads(rows: Rows, params: LightgbmParams, seed: int, window: Window) -> tuple[Heads, Raw]:
    """Fit on a window, and give the outputs on its later block, which decided when to stop.

    The stop is found there by trees that never saw it; then the whole window is fitted for as many rounds.
    """
    earlier, later = window.divided(params.later_share)
    early = _fit(rows, params, seed, earlier, stop=later)
    rounds = {
        kind: [b.num_trees() for b in head.boosters]
        for kind, head in (("volatility", early.volatility), ("mean", early.mean))
    }
    heads = _fit(rows, params, seed, window, rounds=rounds)
    return heads, early.raw(rows, later.known(rows, 0))


def _fit(
    rows: Rows,
    params: LightgbmParams,
    seed: int,
    window: Window,
    *,
    stop: Window | None = None,
    rounds: dict[str, list[int]] | None = None,
) -> Heads:
    """Line and heads on one window; with a stop block the rounds are found there, else they are given."""
    names, anchors = rows.spec.names, params.anchors
    ahead = np.stack([rows.log_volatility[:, rows.column(h)] for h in anchors], axis=1)
    targets = np.full_like(ahead, np.nan)
    for j, h in enumerate(anchors):
        at = window.known(rows, h)
        targets[at, j] = ahead[at, j]
    line = fit_line(rows.features, names, targets, ridge=params.ridge_rows)
    base = line.predict(rows.features, names)

    def head(kind: str, chosen: tuple[int, ...], tree: TreeParams, labels: Floats) -> Head:
        boosters = []
        for j, h in enumerate(chosen):
            train = _thinned(rows, window.known(rows, h), h)
            block = None if stop is None else _thinned(rows, stop.known(rows, h), h)
            given = tree.rounds if rounds is None else rounds[kind][j]
            boosters.append(boost(rows.features, labels[:, j], train, block, tree, rounds=given, seed=seed))
        return Head(chosen, tuple(boosters), np.ones(len(boosters)))

    scores = _scores(rows, anchors, params.mean_anchors, base)
    return Heads(
        line,
        head("volatility", anchors, params.volatility, ahead - base),
        head("mean", params.mean_anchors, params.mean, scores),
    )


def _scores(rows: Rows, anchors: Sequence[int], chosen: Sequence[int], log_volatility: Floats) -> Floats:
    """Returns at some horizons in units of forecast volatility: (N, M), cut at four."""
    out = [
        rows.returns[:, rows.column(h)] / (np.exp(log_volatility[:, list(anchors).index(h)]) * np.sqrt(h))
        for h in chosen
    ]
    return np.asarray(np.clip(np.stack(out, axis=1), -4, 4))


def _thinned(rows: Rows, at: np.ndarray, horizon: int) -> np.ndarray:
    """Every fifth part of a horizon only: targets that overlap more say little more."""
    stride = max(1, horizon // 5)
    return np.asarray(at[rows.origins[at].astype(np.int64) % stride == 0])


def corrected(
    heads: Heads, rows: Rows, params: LightgbmParams, seen: Sequence[Raw], last_close: np.datetime64
) -> LightgbmModel:
    """The model: weights of the trees, shape of the residuals and error of the volatility from outputs made
    out of sample, on targets that had ended by last_close.
    """
    pool = _joined(seen)
    targets = rows.log_volatility[pool.at]
    errors, residuals, weights = [], [], []
    mean_weights = np.zeros(len(params.mean_anchors))
    for j, h in enumerate(params.anchors):
        ended = rows.origins[pool.at] + np.timedelta64(h, "D") <= last_close
        y = np.where(ended, targets[:, rows.column(h)], np.nan)
        weight = _slope(pool.trees[:, j], y - pool.line[:, j])
        log_volatility = pool.line[:, j] + weight * pool.trees[:, j]
        z = rows.returns[pool.at, rows.column(h)] / (np.exp(log_volatility) * np.sqrt(h))
        z = np.where(ended, z, np.nan)
        if h in params.mean_anchors:
            m = params.mean_anchors.index(h)
            mean_weights[m] = _shrunk(pool.scores[:, m], z, rows.origins[pool.at], h)
            z = z - mean_weights[m] * pool.scores[:, m]
        weights.append(weight)
        residuals.append(z)
        errors.append(_spread(y - log_volatility, h))
    return LightgbmModel(
        spec=rows.spec,
        line=heads.line,
        volatility=Head(params.anchors, heads.volatility.boosters, np.array(weights)),
        mean=Head(params.mean_anchors, heads.mean.boosters, mean_weights),
        shape=residual_shape(params.anchors, residuals),
        volatility_errors=np.array(errors),
    )


def _joined(seen: Sequence[Raw]) -> Raw:
    return Raw(*(np.concatenate([getattr(r, f) for r in seen]) for f in ("at", "line", "trees", "scores")))


def _slope(x: Floats, y: Floats) -> float:
    """Slope of y on x about zero, from 0 to 1, shrunk by a tenth of the rows."""
    known = np.isfinite(x) & np.isfinite(y)
    square = float(x[known] @ x[known])
    return float(np.clip(x[known] @ y[known] / (1.1 * square), 0, 1)) if square > 0 else 0.0


def _shrunk(score: Floats, outcome: Floats, origins: np.ndarray, horizon: int) -> float:
    """How much of a mean forecast to believe, 0 to 1: its slope out of sample times 1 - 4 / t^2, zero below
    t = 2.

    t counts blocks of dates, not rows: coins move together, and targets overlap over the horizon.
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
    """Root mean square error of log volatility; a plain guess where nothing was measured."""
    known = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(known**2))) if len(known) >= 10 else 0.28 + 0.27 / horizon
