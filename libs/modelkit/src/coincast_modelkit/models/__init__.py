"""The models that serving can load, by name."""

from coincast_modelkit.models.base import Attribution, ForecastModel
from coincast_modelkit.models.lightgbm import LightgbmModel
from coincast_modelkit.models.technical import TechnicalModel

MODELS: dict[str, type[ForecastModel]] = {"technical": TechnicalModel, "lightgbm": LightgbmModel}

__all__ = ["MODELS", "Attribution", "ForecastModel", "LightgbmModel", "TechnicalModel"]
