"""What a fitter takes and gives: one function `fit` a model, one record of forecasts made out of sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Panel
from coincast_modelkit.models.base import ForecastModel


class Progress(Protocol):
    """Hears how far a piece of work has come: a fraction from 0 to 1 and a few words."""

    def __call__(self, fraction: float, stage: str) -> None:
        """Hears it."""
        ...


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Forecasts made out of sample, one row a coin, origin and horizon (N rows, Q probabilities).

    Rows are log returns from the close of `origins` to the close `horizons` days later; `actual_log_returns`
    is what came.
    """

    coin_ids: NDArray[np.str_]
    origins: NDArray[np.datetime64]
    horizons: NDArray[np.int64]
    last_prices: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    log_return_quantiles: NDArray[np.float64]
    actual_log_returns: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.coin_ids)


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model fitted on all of its panel, with the walk-forward record of the same recipe."""

    model: ForecastModel
    walk_forward: WalkForward
    parameters: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)


class Fit(Protocol):
    """Fits one kind of model. The same panel, parameters and seed give the same model.

    `reference` holds the candles of REFERENCE_COINS, against which market features are taken, as serving
    takes them; None takes those found in the panel. Only the panel's coins are learnt from.
    """

    def __call__(
        self,
        panel: Panel,
        params: Mapping[str, Any],
        seed: int,
        *,
        progress: Progress,
        reference: Panel | None = None,
    ) -> FittedModel:
        """Fits. Raises ValueError where a parameter is wrong or the history too short."""
        ...
