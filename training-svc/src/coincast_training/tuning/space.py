"""The search space of the tuner for each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna import Trial

from coincast_chassis.errors import InvalidInput
from coincast_training.trainers.params import merged

Params = dict[str, Any]


def _lightgbm(trial: Trial) -> Params:
    return {
        "volatility": {
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.12, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 7, 31),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 200, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 0.8),
            "lambda_l2": trial.suggest_float("lambda_l2", 1.0, 100.0, log=True),
        },
        "ridge_rows": trial.suggest_float("ridge_rows", 10.0, 300.0, log=True),
    }


def _ml_ensemble(trial: Trial) -> Params:
    return {"ridge": trial.suggest_float("ridge", 3.0, 300.0, log=True)}


def _lstm(trial: Trial) -> Params:
    return {
        "units": trial.suggest_categorical("units", [8, 16, 24, 32]),
        "dropout": trial.suggest_float("dropout", 0.05, 0.4),
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 5e-3, log=True),
    }


SPACES: dict[str, Callable[[Trial], Params]] = {
    "lightgbm": _lightgbm,
    "ml_ensemble": _ml_ensemble,
    "lstm": _lstm,
}
# A fold of the tuning needs no walk-forward forecasts. It also leaves out the network of the ensemble: a
# dozen networks would take minutes instead of seconds per fold, for a CRPS that is a tenth of a percent
# better.
FOLD_PARAMS: dict[str, Params] = {
    "lightgbm": {"walk_forward": False},
    "lstm": {"walk_forward": False},
    "ml_ensemble": {"lstm": {"use": "off"}},
}
# Notes on these parameters for the report.
FOLD_NOTES = {
    "ml_ensemble": "Folds were fitted without the network of the ensemble (lstm: off), which would take "
    "minutes for each fold. A trained version has the network if its recipe includes it."
}


def suggested(model: str, trial: Trial, base: Mapping[str, Any]) -> Params:
    """Return a recipe with the values that a trial suggests.

    Args:
        model: Name of the model.
        trial: Suggests the values.
        base: The recipe whose values are replaced.

    Raises:
        InvalidInput: The model has no search space.
    """
    if model not in SPACES:
        raise InvalidInput(f"{model} cannot be tuned; {', '.join(SPACES)} can.", field="tune_trials")
    return merged(base, SPACES[model](trial))
