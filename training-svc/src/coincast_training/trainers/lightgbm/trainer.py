"""Fit the pooled LightGBM model, and make walk-forward forecasts with the same recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.models.lightgbm import LightgbmModel
from coincast_training.executors import Executor
from coincast_training.executors.inline import InlineExecutor
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.lightgbm.heads import TreeRecipe
from coincast_training.trainers.lightgbm.params import LightgbmParams
from coincast_training.trainers.params import for_span, read_params
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.training_table import Table, choose_spec
from coincast_training.trainers.walk_forward import RECORD_HORIZONS, Store, walk


def fit(
    panel: Panel,
    params: Mapping[str, Any],
    seed: int,
    *,
    progress: Progress,
    reference: Panel | None = None,
    executor: Executor | None = None,
    store: Store | None = None,
) -> FittedModel:
    """Fit the model on a panel, and make walk-forward forecasts with the same recipe.

    Args:
        panel: Daily candles by coin.
        params: The recipe.
        seed: Seed of all random choices.
        progress: Called with the finished fraction and the stage.
        reference: Coins of the cross-sectional features; None for those of the panel.
        executor: Runs the refits of the walk; None runs them in this process.
        store: Results of windows, shared between calls on longer and longer cuts of one panel; see `walk`.

    Raises:
        ValueError: A parameter is wrong or the history is too short.
    """
    settings = read_params(LightgbmParams, params, model="lightgbm")
    known = panel if reference is None else {**reference, **panel}
    horizons = tuple(sorted({*settings.anchors, *RECORD_HORIZONS}))
    table = Table(panel, known, choose_spec(known), horizons)
    rows = table.rows
    first, last = rows.origins.min(), rows.origins.max()
    recipe = for_span(settings, (last - first).astype(int) + 1)
    progress(0.05, f"computed {len(rows)} rows of {len(rows.spec.names)} features")
    walked = walk(
        TreeRecipe(table, recipe, seed),
        recipe,
        executor=executor or InlineExecutor(),
        progress=lambda fraction, stage: progress(0.05 + 0.95 * fraction, stage),
        store=store,
    )
    model = walked.fitted.model(rows, walked.known.at(last, walked.later))
    return FittedModel(
        model=model,
        walk_forward=walked.record,
        parameters=settings.model_dump(mode="json"),
        notes=_notes(model, recipe, len(rows)),
    )


def _notes(model: LightgbmModel, params: LightgbmParams, rows: int) -> dict[str, Any]:
    """Return notes on the fit: rounds, weights, and the features with the largest gain."""
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
    """Return the share of each feature in the gain of the volatility trees, the largest first."""
    gains = np.sum([b.feature_importance("gain") for b in model.volatility.boosters], axis=0)
    total = float(gains.sum()) or 1.0
    order = np.argsort(-gains, kind="stable")[:top]
    return {model.spec.names[i]: float(gains[i] / total) for i in order if gains[i] > 0}
