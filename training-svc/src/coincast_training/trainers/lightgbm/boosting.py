"""Fit one LightGBM booster; the same rows give exactly the same bytes."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_training.optional_imports import OPTIONAL_FOR_LIGHTGBM, hidden
from coincast_training.trainers.lightgbm.params import TreeParams

with hidden(OPTIONAL_FOR_LIGHTGBM):
    import lightgbm as lgb

MIN_ROWS = 40


def boost(
    x: Floats,
    y: Floats,
    train: np.ndarray,
    stop: np.ndarray | None,
    tree: TreeParams,
    *,
    rounds: int,
    seed: int,
) -> lgb.Booster:
    """Fit a booster. With fewer than MIN_ROWS training rows, it is constant.

    Args:
        x: Features (N, F).
        y: Targets (N,); NaN is left out.
        train: Positions of the training rows.
        stop: Positions of the rows for early stopping: boosting stops when their loss no longer improves.
            None trains all rounds.
        tree: Parameters of the trees.
        rounds: Maximum number of rounds.
        seed: Seed of all random choices.
    """
    train = train[np.isfinite(y[train])]
    options = _options(tree, seed, len(train))
    if len(train) < MIN_ROWS:
        options |= {"num_leaves": 2, "min_data_in_leaf": 5, "learning_rate": 1e-9}
        rounds, stop = 1, None
    data = lgb.Dataset(x[train], y[train], params=options)
    if stop is not None:
        stop = stop[np.isfinite(y[stop])]
    if stop is None or len(stop) < MIN_ROWS // 2:
        return _from_text(lgb.train(options, data, rounds), rounds)
    valid = lgb.Dataset(x[stop], y[stop], reference=data)
    halt = lgb.early_stopping(tree.early_stopping_rounds, verbose=False)
    booster = lgb.train(options, data, rounds, valid_sets=[valid], callbacks=[halt])
    return _from_text(booster, max(1, booster.best_iteration))


def _from_text(booster: lgb.Booster, rounds: int) -> lgb.Booster:
    """Convert a booster to text and back. Workers return boosters as text, which rounds the gains."""
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=rounds))


def _options(tree: TreeParams, seed: int, rows: int) -> dict[str, object]:
    given = tree.model_dump(exclude={"rounds", "early_stopping_rounds"})
    given["min_data_in_leaf"] = max(5, min(tree.min_data_in_leaf, rows // 15))
    return {
        "objective": "regression",
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "seed": seed,
        "bagging_freq": 1,
        **given,
    }
