"""The models that serving can load, by name."""

from coincast_modelkit.models.base import Attribution, ForecastModel
from coincast_modelkit.models.technical import TechnicalModel

MODELS: dict[str, type[ForecastModel]] = {"technical": TechnicalModel}

__all__ = ["MODELS", "Attribution", "ForecastModel", "TechnicalModel"]
