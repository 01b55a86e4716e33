"""The daily models that serving can load, by name."""

from __future__ import annotations

from coincast_modelkit.models.base import Attribution, ForecastModel
from coincast_modelkit.models.ensemble.model import EnsembleModel
from coincast_modelkit.models.lightgbm import LightgbmModel
from coincast_modelkit.models.lstm import LstmModel
from coincast_modelkit.models.range_volatility import TechnicalModel

MODELS: dict[str, type[ForecastModel]] = {
    "technical": TechnicalModel,
    "lightgbm": LightgbmModel,
    "lstm": LstmModel,
    "ml_ensemble": EnsembleModel,
}

__all__ = [
    "MODELS",
    "Attribution",
    "EnsembleModel",
    "ForecastModel",
    "LightgbmModel",
    "LstmModel",
    "TechnicalModel",
]
