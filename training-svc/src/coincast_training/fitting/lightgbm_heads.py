"""Fitting the two heads of the LightGBM model on the rows known by a day, and correcting them out of
sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from coincast_modelkit.candles import Floats
from coincast_modelkit.models.har import HarLine, design, fit_line
from coincast_modelkit.models.lightgbm import Head, LightgbmModel
from coincast_modelkit.models.residuals import residual_shape

from coincast_training.fitting.lightgbm_params import LightgbmParams, TreeParams
from coincast_training.fitting.rows import Rows

MIN_ROWS = 40


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


def known_by(rows: Rows, last_close: np.datetime64, horizon: int, first: np.datetime64) -> np.ndarray:
    """Positions of rows from `first` on whose target at a horizon had ended by the close of a day."""
    ended = rows.origins + np.timedelta64(horizon, "D") <= last_close
    return np.flatnonzero((rows.origins >= first) & ended)


def fit_heads(
    rows: Rows, params: LightgbmParams, seed: int, *, last_close: np.datetime64, first: np.datetime64
) -> tuple[Heads, Raw]:
    """Fit on what had come by last_close, and give the outputs on the later block that decided when to stop.

    The stop is found on the later block by trees that never saw it; then all rows are fitted for as many
    rounds.
    """
    span = (last_close - first).astype(int)
    later_from = last_close - np.timedelta64(max(30, round(params.later_share * span)), "D")
    gap = np.timedelta64(1, "D")
    early, rounds = _fit(
        rows, params, seed, last_close=later_from - gap, first=first, stop_from=later_from, stop_to=last_close
    )
    later = np.flatnonzero((rows.origins >= later_from) & (rows.origins <= last_close))
    heads, _ = _fit(rows, params, seed, last_close=last_close, first=first, rounds=rounds)
    return heads, early.raw(rows, later)


def _fit(
    rows: Rows,
    params: LightgbmParams,
    seed: int,
    *,
    last_close: np.datetime64,
    first: np.datetime64,
    stop_from: np.datetime64 | None = None,
    stop_to: np.datetime64 | None = None,
    rounds: dict[str, int] | None = None,
) -> tuple[Heads, dict[str, int]]:
    """Line and heads on one window; with a stop block the rounds are found there, else they are given."""
    anchors, mean_anchors = params.anchors, params.mean_anchors
    names = rows.spec.names
    terms = design(rows.features, names)
    targets = np.full((len(rows), len(anchors)), np.nan)
    for j, h in enumerate(anchors):
        at = known_by(rows, last_close, h, first)
        targets[at, j] = rows.log_volatility[at, rows.column(h)]
    line = fit_line(terms, targets, ridge=params.ridge_rows)
    base = line.predict(rows.features, names)
    found: dict[str, int] = {}

    def head(kind: str, chosen: Sequence[int], tree: TreeParams, labels: Floats) -> Head:
        boosters = []
        for j, h in enumerate(chosen):
            train = _thinned(rows, known_by(rows, last_close, h, first), h)
            stop = None
            if stop_from is not None and stop_to is not None:
                stop = _thinned(rows, known_by(rows, stop_to, h, stop_from), h)
            key = f"{kind}_{h}"
            booster = _boost(
                rows.features, labels[:, j], train, stop, tree, seed, None if rounds is None else rounds[key]
            )
            found[key] = max(1, booster.current_iteration())
            boosters.append(booster)
        return Head(tuple(chosen), tuple(boosters), np.ones(len(boosters)))

    residual = np.stack([rows.log_volatility[:, rows.column(h)] for h in anchors], axis=1) - base
    return (
        Heads(
            line,
            head("volatility", anchors, params.volatility, residual),
            head("mean", mean_anchors, params.mean, _scores(rows, anchors, mean_anchors, base)),
        ),
        found,
    )


def _scores(rows: Rows, anchors: Sequence[int], chosen: Sequence[int], log_volatility: Floats) -> Floats:
    """Returns at some horizons in units of forecast volatility: (N, M), cut at four."""
    out = [
        rows.returns[:, rows.column(h)] / (np.exp(log_volatility[:, list(anchors).index(h)]) * np.sqrt(h))
        for h in chosen
    ]
    return np.clip(np.stack(out, axis=1), -4, 4)


def _thinned(rows: Rows, at: np.ndarray, horizon: int) -> np.ndarray:
    """Every so many days only: overlapping targets of a long horizon say little more than every fifth part
    of it.
    """
    stride = max(1, horizon // 5)
    return at[rows.origins[at].astype(np.int64) % stride == 0]


def _boost(
    x: Floats,
    y: Floats,
    train: np.ndarray,
    stop: np.ndarray | None,
    tree: TreeParams,
    seed: int,
    rounds: int | None,
) -> lgb.Booster:
    """One booster. Too few rows give a single constant leaf."""
    train = train[np.isfinite(y[train])]
    options = {
        "objective": "regression",
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "seed": seed,
        "bagging_freq": 1,
        **tree.model_dump(exclude={"rounds", "early_stopping_rounds"}),
    }
    options["min_data_in_leaf"] = max(5, min(tree.min_data_in_leaf, len(train) // 15))
    if len(train) < MIN_ROWS:
        rounds, stop = 1, None
        options |= {"num_leaves": 2, "min_data_in_leaf": 5, "learning_rate": 1e-9}
    data = lgb.Dataset(x[train], y[train], params=options, free_raw_data=True)
    valid, callbacks = [], []
    if stop is not None:
        stop = stop[np.isfinite(y[stop])]
        if len(stop) >= MIN_ROWS // 2:
            valid = [lgb.Dataset(x[stop], y[stop], reference=data)]
            callbacks = [lgb.early_stopping(tree.early_stopping_rounds, verbose=False)]
    booster = lgb.train(options, data, rounds or tree.rounds, valid_sets=valid, callbacks=callbacks)
    best = booster.best_iteration
    if best > 0 and best < booster.current_iteration():
        booster = lgb.Booster(model_str=booster.model_to_string(num_iteration=best))
    return booster


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
