"""Finds the fitter of a model; heavy libraries are imported only when their model is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from coincast_chassis.errors import InvalidInput, NotReady
from coincast_training.domain import MODELS
from coincast_training.fitting.base import Fit

MODULES = {model: f"coincast_training.fitting.{model}" for model in MODELS}
NEEDS_TENSORFLOW = frozenset({"lstm"})
HOW_TO_ADD_TENSORFLOW = (
    "The lstm is trained with TensorFlow, which is not installed here (about 500 MB). Add it with "
    "`pip install 'coincast-training[lstm]'` or `make setup-lstm`, then start the training service again."
)


def find_fit(model: str) -> Fit:
    """The model's `fit`. Raises `InvalidInput` for an unknown name, `NotReady` where a library is absent."""
    if model not in MODULES:
        raise InvalidInput(f"model must be one of {', '.join(MODULES)}; it is {model!r}.", field="model")
    if reason := why_not_trainable(model):
        raise NotReady(reason, field="model")
    return cast(Fit, import_module(MODULES[model]).fit)


def trainable_models() -> list[str]:
    """The models that can be trained with what is installed."""
    return [model for model in MODULES if not why_not_trainable(model)]


def why_not_trainable(model: str) -> str:
    """Why the model cannot be trained here; empty where it can."""
    if model in NEEDS_TENSORFLOW and find_spec("tensorflow") is None:
        return HOW_TO_ADD_TENSORFLOW
    return "" if find_spec(MODULES[model]) else f"{model} has no fitter in this build."
