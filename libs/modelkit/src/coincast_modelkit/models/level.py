"""Correct the level of a model's widths, for a model that forecasts another market than it learnt from.

A model that ships was trained on other years and perhaps other coins. How its widths move from day to day
carries over; their level drifts. The level is one number a horizon, the log of a factor, and is measured on
days that the model has not seen: see `level_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.base import ForecastModel

# A factor beyond this says that the outcomes are broken, not that the market is calmer or wilder.
MAX_LOG_FACTOR = float(np.log(2.0))
# Independent outcomes that weigh as much as no correction at all.
PRIOR_OUTCOMES = 10.0


@runtime_checkable
class LevelAdjustable(ForecastModel, Protocol):
    """A model whose widths can be shifted as a whole."""

    level: Mapping[int, float]

    @property
    def level_anchors(self) -> tuple[int, ...]:
        """Return the horizons (days) at which the level can be shifted; between them it is interpolated."""
        ...

    def with_level(self, level: Mapping[int, float]) -> Self:
        """Return the model with another level.

        Args:
            level: By anchor horizon, what is added to the log of the width and of the volatility; it replaces
                the level that the model has. An absent anchor is not shifted.

        Raises:
            ValueError: A horizon is no anchor, or a shift is out of range.
        """
        ...


def level_of(widths: Floats, outcomes: Floats, *, horizon: int, days: int) -> float:
    """Measure the level at one horizon: the log of how much larger outcomes were than forecast.

    Args:
        widths: Expected absolute log returns by forecast, (n,); see `expected_sizes`.
        outcomes: Absolute log returns that followed, (n,).
        horizon: Days ahead.
        days: Days that the origins span; their number over the horizon counts as independent outcomes, since
            coins move together and longer horizons overlap.

    Returns:
        The log factor, shrunk to 0 by PRIOR_OUTCOMES and at most MAX_LOG_FACTOR in size; 0 without outcomes.
    """
    known = np.isfinite(widths) & np.isfinite(outcomes) & (widths > 0)
    if not known.any():
        return 0.0
    ratio = outcomes[known].sum() / widths[known].sum()
    if not ratio > 0:
        return 0.0
    independent = days / horizon
    log_factor = float(np.log(ratio)) * independent / (independent + PRIOR_OUTCOMES)
    return float(np.clip(log_factor, -MAX_LOG_FACTOR, MAX_LOG_FACTOR))


def checked_level(level: Mapping[int, float], anchors: Sequence[int]) -> dict[int, float]:
    """Return the level as it is kept: shifts other than zero by anchor.

    Raises:
        ValueError: A horizon is no anchor, or a shift is not finite or beyond MAX_LOG_FACTOR.
    """
    for horizon, shift in level.items():
        if horizon not in anchors:
            raise ValueError(f"the level is given at {horizon} days, and the anchors are {list(anchors)}")
        if not abs(shift) <= MAX_LOG_FACTOR:
            raise ValueError(f"the level at {horizon} days is {shift}; at most {MAX_LOG_FACTOR:.3f} in size")
    return {int(horizon): float(shift) for horizon, shift in sorted(level.items()) if shift}


def level_to_json(level: Mapping[int, float]) -> dict[str, float]:
    """Return the level with its horizons as text, as JSON has them."""
    return {str(horizon): shift for horizon, shift in level.items()}


def level_from_json(plain: Mapping[str, float]) -> dict[int, float]:
    """From `level_to_json`."""
    return {int(horizon): float(shift) for horizon, shift in plain.items()}
