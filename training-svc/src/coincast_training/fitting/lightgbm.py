"""Fits the pooled LightGBM model and makes its walk-forward record with the same recipe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.models.lightgbm import LightgbmModel
from coincast_training.fitting.base import FittedModel, Progress
from coincast_training.fitting.calibration import Calibration
from coincast_training.fitting.lightgbm_heads import fit_heads
from coincast_training.fitting.lightgbm_params import LightgbmParams
from coincast_training.fitting.params import for_span, read_params
from coincast_training.fitting.rows import build_rows, choose_spec
from coincast_training.fitting.walk import RECORD_HORIZONS, no_record, walk
from coincast_training.fitting.window import Window


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
    recipe = for_span(settings, (last - first).astype(int) + 1)
    progress(0.05, f"computed {len(rows)} rows of {len(rows.spec.names)} features")
    fit_window = partial(fit_heads, rows, recipe, seed)
    seen = Calibration(rows, recipe.anchors, recipe.mean_anchors)
    record = no_record()
    if recipe.walk_forward:
        seen, record = walk(
            rows, recipe, fit_window, progress=lambda f, stage: progress(0.05 + 0.8 * f, stage)
        )
    heads, later = fit_window(Window(first, last))
    model = heads.model(rows, seen.at(last, later))
    progress(1.0, "fitted the trees on all days")
    return FittedModel(
        model=model,
        walk_forward=record,
        parameters=settings.model_dump(mode="json"),
        notes=_notes(model, recipe, len(rows)),
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
