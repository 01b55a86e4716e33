"""Fits the pooled LightGBM model and makes its walk-forward record with the same recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.models.lightgbm import LightgbmModel
from coincast_modelkit.splits import Fold, walk_forward
from coincast_training.fitting.base import FittedModel, Progress, WalkForward
from coincast_training.fitting.lightgbm_heads import Raw, Window, corrected, fit_heads
from coincast_training.fitting.lightgbm_params import LightgbmParams
from coincast_training.fitting.params import read_params
from coincast_training.fitting.rows import Rows, build_rows, choose_spec

RECORD_HORIZONS = (1, 3, 7, 14, 30)
DAY = np.timedelta64(1, "D")


def fit(
    panel: Panel,
    params: Mapping[str, Any],
    seed: int,
    *,
    progress: Progress,
    reference: Panel | None = None,
) -> FittedModel:
    """Fit on a panel; `reference` (default: the panel) holds the coins that cross-sections are taken against.

    Raises ValueError where a parameter is wrong or the history is too short.
    """
    settings = read_params(LightgbmParams, params, model="lightgbm")
    known = panel if reference is None else {**reference, **panel}
    rows = build_rows(panel, known, choose_spec(known), sorted({*settings.anchors, *RECORD_HORIZONS}))
    first, last = rows.origins.min(), rows.origins.max()
    recipe = _for_span(settings, (last - first).astype(int) + 1)
    progress(0.05, f"computed {len(rows)} rows of {len(rows.spec.names)} features")
    seen, forecasts = _walk(rows, recipe, seed, progress) if recipe.walk_forward else ([], [])
    heads, later = fit_heads(rows, recipe, seed, Window(first, last))
    model = corrected(heads, rows, recipe, seen or [later], last)
    progress(1.0, "fitted the trees on all days")
    return FittedModel(
        model=model,
        walk_forward=_joined(rows, forecasts),
        parameters=settings.model_dump(mode="json"),
        notes=_notes(model, recipe, len(rows)),
    )


def _for_span(params: LightgbmParams, days: int) -> LightgbmParams:
    """Anchors that so many days can teach. Raises ValueError where not even the shortest can be."""
    anchors = tuple(h for h in params.anchors if days >= 60 + 4 * h)
    if not anchors:
        raise ValueError(f"{days} days of history are too few to train on; 90 are the least")
    mean = tuple(h for h in params.mean_anchors if h in anchors) or anchors[:1]
    return params.model_copy(update={"anchors": anchors, "mean_anchors": mean})


def folds_of(rows: Rows, params: LightgbmParams) -> list[Fold]:
    """The walk-forward folds of a table: the later half in equal parts, or the days that the settings name.
    """
    first, last = rows.origins.min(), rows.origins.max()
    days = (last - first).astype(int) + 1
    begin = first + np.timedelta64(max(days // 2, min(days * 7 // 10, 120)), "D")
    if params.first_test is not None:
        begin = np.datetime64(params.first_test, "D")
    step = params.step_days or max(7, -(-int((last - begin).astype(int)) // params.folds))
    return list(
        walk_forward(
            first,
            begin,
            last - DAY,
            step_days=step,
            embargo_days=max(params.anchors),
            rolling_days=params.rolling_days,
        )
    )


def _walk(
    rows: Rows,
    params: LightgbmParams,
    seed: int,
    progress: Progress,
) -> tuple[list[Raw], list[tuple[np.ndarray, np.ndarray]]]:
    """Outputs made out of sample, fold after fold, and the forecasts: positions (m,), quantiles (m, H, Q)."""
    folds = folds_of(rows, params)
    seen: list[Raw] = []
    forecasts = []
    for number, fold in enumerate(folds):
        # A target may end on the day before the first test origin, and no later: see Fold.
        heads, later = fit_heads(rows, params, seed, Window(fold.train_from, fold.test_from - DAY))
        model = corrected(heads, rows, params, seen or [later], fold.test_from - DAY)
        at = np.flatnonzero(fold.test_mask(rows.origins))
        seen.append(heads.raw(rows, at))
        _, _, quantiles = model.distribution(rows.features[at], RECORD_HORIZONS)
        forecasts.append((at, quantiles))
        progress(0.05 + 0.8 * (number + 1) / len(folds), f"walked forward {number + 1} of {len(folds)} folds")
    return seen, forecasts


def _joined(rows: Rows, forecasts: Sequence[tuple[np.ndarray, np.ndarray]]) -> WalkForward:
    """One record of all folds: a row a coin, origin and horizon whose day has come."""
    at = np.concatenate([a for a, _ in forecasts]) if forecasts else np.array([], dtype=np.int64)
    shape = (0, len(RECORD_HORIZONS), len(PROBABILITIES))
    quantiles = np.concatenate([q for _, q in forecasts]) if forecasts else np.empty(shape)
    columns = [rows.column(h) for h in RECORD_HORIZONS]
    actual = rows.returns[at][:, columns]
    origin, horizon = np.nonzero(np.isfinite(actual))
    return WalkForward(
        coin_ids=np.array(rows.coin_ids)[rows.coin[at[origin]]],
        origins=rows.origins[at[origin]],
        horizons=np.array(RECORD_HORIZONS)[horizon],
        last_prices=rows.prices[at[origin]],
        probabilities=PROBABILITIES,
        log_return_quantiles=quantiles[origin, horizon],
        actual_log_returns=actual[origin, horizon],
    )


def _notes(model: LightgbmModel, params: LightgbmParams, rows: int) -> dict[str, Any]:
    """What the fit found: rounds, weights, and the features that the trees gained most by."""
    heads = {"volatility": model.volatility, "mean": model.mean}
    boosters = {f"{k}_{h}": b for k, v in heads.items() for h, b in zip(v.anchors, v.boosters, strict=True)}
    return {
        "rows": rows,
        "anchors": list(params.anchors),
        "rounds": {name: booster.num_trees() for name, booster in boosters.items()},
        "weights": {k: [float(w) for w in v.weights] for k, v in heads.items()},
        "importance": importance(model),
    }


def importance(model: LightgbmModel, top: int = 20) -> dict[str, float]:
    """Share of the gain of the volatility trees by feature, largest first."""
    gains = np.sum([b.feature_importance("gain") for b in model.volatility.boosters], axis=0)
    total = float(gains.sum()) or 1.0
    order = np.argsort(-gains, kind="stable")[:top]
    return {model.spec.names[i]: float(gains[i] / total) for i in order if gains[i] > 0}
