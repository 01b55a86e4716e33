"""Trainer interface: one `fit` function for each model, one type of out-of-sample forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Panel
from coincast_modelkit.models.base import ForecastModel
from coincast_training.executors import Executor
from coincast_training.trainers.progress import Progress


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Forecasts made out of sample, one row for each coin, origin and horizon (N rows, Q probabilities).

    Rows are log returns from the close of `origins` to the close `horizons` days later; `actual_log_returns`
    are the outcomes.
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
    """Fit one kind of model. The same panel, parameters and seed give the same model.

    `reference` holds the candles of REFERENCE_COINS for the market features, as in serving; None takes those
    found in the panel. Only the panel's coins are learnt from.

    `executor` runs the refits of the walk (None: one after another in this process); the model is the same
    wherever they ran. A fit of a model that reads hours also takes `hours`.
    """

    def __call__(
        self,
        panel: Panel,
        params: Mapping[str, Any],
        seed: int,
        *,
        progress: Progress,
        reference: Panel | None = None,
        executor: Executor | None = None,
    ) -> FittedModel:
        """Fit the model. Raises ValueError if a parameter is wrong or the history too short."""
        ...
