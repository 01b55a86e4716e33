"""The interface of all daily models that serving can load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from coincast_modelkit.features.spec import FeatureSpec
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput


@dataclass(frozen=True, slots=True)
class Attribution:
    """The contribution (SHAP value) of one feature to one output of one forecast.

    output is `volatility` (contribution in log volatility) or `mean` (contribution in log return). value is
    the value of the feature and may be NaN.
    """

    feature: str
    value: float
    contribution: float
    output: str
    horizon_days: int


@runtime_checkable
class ForecastModel(Protocol):
    """A fitted model.

    Implementations are safe for concurrent calls from several threads and hold no request state.
    """

    @property
    def name(self) -> str:
        """Return the model's name, a key of `coincast_modelkit.models.MODELS`."""
        ...

    @property
    def version(self) -> str:
        """Return the version of the artifact; empty for a model without an artifact."""
        ...

    @property
    def max_horizon_days(self) -> int:
        """Return the longest horizon that the model forecasts, in days."""
        ...

    @property
    def min_history_days(self) -> int:
        """Return the number of closed days that a coin needs; with fewer its forecast is NaN."""
        ...

    @property
    def spec(self) -> FeatureSpec:
        """Return the features that `prepare` must compute for the model."""
        ...

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        """Forecast every coin at every horizon. A coin that cannot be forecast gets NaN; nothing is raised.

        Args:
            prepared: The coins.
            horizons: Days ahead.

        Raises:
            ValueError: A horizon is below 1 or beyond max_horizon_days.
        """
        ...

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        """Return the features with the largest contributions to one forecast, largest first.

        The result is empty for a model without attributions.

        Args:
            prepared: The coin.
            horizon: Days ahead.
            top: Maximum number of features for each output.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the model into an existing folder as text, JSON, ONNX or npz files. No pickles."""
        ...

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """Read the files of `save`. The caller must have verified their digests."""
        ...
