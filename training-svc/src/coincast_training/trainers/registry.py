"""Find the trainer of a model; its large libraries are only imported when that model is trained."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from coincast_chassis.errors import InvalidInput, NotReady
from coincast_training.domain import MODELS
from coincast_training.trainers.base import Fit

_FOLDERS = {"ml_ensemble": "ensemble"}
MODULES = {model: f"coincast_training.trainers.{_FOLDERS.get(model, model)}.trainer" for model in MODELS}
NEEDS_TENSORFLOW = frozenset({"lstm"})
HOW_TO_ADD_TENSORFLOW = (
    "The lstm is trained with TensorFlow, which is not installed here (about 500 MB). Add it with "
    "`pip install 'coincast-training[lstm]'` or `make setup-lstm`, then start the training service again."
)


def find_fit(model: str) -> Fit:
    """Return the `fit` function of a model.

    Raises:
        InvalidInput: The model is unknown.
        NotReady: A library that the model needs is not installed.
    """
    if model not in MODULES:
        raise InvalidInput(f"model must be one of {', '.join(MODULES)}; it is {model!r}.", field="model")
    if reason := unavailable_reason(model):
        raise NotReady(reason, field="model")
    return cast(Fit, import_module(MODULES[model]).fit)


def trainable_models() -> list[str]:
    """Return the models that can be trained with the installed libraries."""
    return [model for model in MODULES if not unavailable_reason(model)]


def unavailable_reason(model: str) -> str:
    """Return the reason why a model cannot be trained here, or an empty string if it can."""
    if model in NEEDS_TENSORFLOW and find_spec("tensorflow") is None:
        return HOW_TO_ADD_TENSORFLOW
    return "" if find_spec(MODULES[model]) else f"{model} has no trainer in this build."
