"""The one interface of every model that serving can load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from coincast_modelkit.features.spec import FeatureSpec
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput

MAX_HORIZON_DAYS = 30


@dataclass(frozen=True, slots=True)
class Attribution:
    """What one feature moved one output of one forecast, by its SHAP value.

    output is `volatility` (contribution in log volatility) or `mean` (in log return); value may be NaN.
    """

    feature: str
    value: float
    contribution: float
    output: str
    horizon_days: int


@runtime_checkable
class ForecastModel(Protocol):
    """A fitted model. Safe to call from several threads at once; holds nothing of a request."""

    @property
    def name(self) -> str:
        """Return one of `coincast_modelkit.models.MODELS`."""
        ...

    @property
    def version(self) -> str:
        """Return the artifact's version; empty for a model that needs none."""
        ...

    @property
    def max_horizon_days(self) -> int:
        """Return the longest horizon that the model forecasts."""
        ...

    @property
    def min_history_days(self) -> int:
        """Fewer closed days than this give a NaN row."""
        ...

    @property
    def spec(self) -> FeatureSpec:
        """Return the features that `prepare` must compute for it."""
        ...

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        """Forecast every coin at every horizon. One bad coin gives NaN rows, never an exception.

        Args:
            prepared: The coins.
            horizons: Days ahead.

        Raises:
            ValueError: A horizon is below 1 or beyond max_horizon_days.
        """
        ...

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        """Return the features that contributed most to one forecast, largest first.

        The result is empty for a model without attributions.

        Args:
            prepared: The coin.
            horizon: Days ahead.
            top: How many features at most, for each output.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything `load` needs into an existing folder: text, JSON, ONNX, npz. No pickles."""
        ...

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """Read what `save` wrote; the caller has verified the digests."""
        ...


def checked_horizons(horizons: Sequence[int], limit: int = MAX_HORIZON_DAYS) -> tuple[int, ...]:
    """Return the horizons as a tuple.

    Raises:
        ValueError: One is out of range, or none is given; the message names the fix.
    """
    wanted = tuple(int(h) for h in horizons)
    if not wanted or min(wanted) < 1 or max(wanted) > limit:
        raise ValueError(f"horizons must be 1 to {limit} days, got {list(wanted)}")
    return wanted
