"""Interface of trainers: one `fit` function for each model, and the type of out-of-sample forecasts."""

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
    """Out-of-sample forecasts, one row for each coin, origin and horizon (N rows, Q probabilities).

    Arrays are (N,), `probabilities` is (Q,) and `log_return_quantiles` is (N, Q). Returns are from the close
    of the origin to the close `horizons` days later; `actual_log_returns` are the outcomes.
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
    """A model fitted on its whole panel, with the walk-forward forecasts of the same recipe."""

    model: ForecastModel
    walk_forward: WalkForward
    parameters: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)


class Fit(Protocol):
    """Fit one kind of model; the same panel, parameters and seed give the same model.

    A model that reads hours has a further argument `hours`, hourly candles by coin.
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
        """Fit the model on the coins of the panel.

        Args:
            panel: Daily candles of the coins to train on.
            params: Parameters of the recipe.
            seed: Seed of all random choices.
            progress: Called with the finished fraction and a text.
            reference: Candles of REFERENCE_COINS for the market features; None takes those of the panel.
            executor: Runs the refits of the walk; None runs them in this process. It does not affect the
                model.

        Raises:
            ValueError: A parameter is wrong, or the history is too short.
        """
        ...
