"""Fit the LSTM model, and make walk-forward forecasts with the same recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.models.har import TERMS
from coincast_training.executors import Executor
from coincast_training.executors.inline import InlineExecutor
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.lstm.fitting import Trainer
from coincast_training.trainers.lstm.params import LstmParams
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
    settings = read_params(LstmParams, params, model="lstm")
    known = panel if reference is None else {**reference, **panel}
    table = Table(panel, known, _spec(settings, known), tuple(sorted({*settings.anchors, *RECORD_HORIZONS})))
    rows = table.rows
    first, last = rows.origins.min(), rows.origins.max()
    recipe = for_span(settings, (last - first).astype(int) + 1)
    progress(0.02, f"computed {len(rows)} rows of {len(rows.spec.names)} features")
    walked = walk(
        Trainer.of(table, recipe, seed),
        recipe,
        executor=executor or InlineExecutor(),
        progress=lambda fraction, stage: progress(0.02 + 0.95 * fraction, stage),
        store=store,
    )
    fitted = walked.fitted
    model = fitted.model(rows, walked.known.at(last, walked.later))
    progress(1.0, "exported the network")
    notes = {
        "rows": len(rows),
        "anchors": list(recipe.anchors),
        "epochs": fitted.epochs,
        "weights": {"volatility": model.volatility_weights.tolist(), "mean": model.mean_weights.tolist()},
    }
    return FittedModel(model, walked.record, settings.model_dump(mode="json"), notes)


def _spec(params: LstmParams, reference: Panel) -> FeatureSpec:
    """Return the features of the inputs and of the regression that the reference coins allow."""
    wanted = {*params.inputs, *TERMS}
    return FeatureSpec(tuple(n for n in choose_spec(reference).names if n in wanted))
