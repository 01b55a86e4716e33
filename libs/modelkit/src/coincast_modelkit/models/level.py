"""Correct the level of a model's widths when it forecasts another period or market than it was trained on.

A starter model was trained on other years and perhaps other coins. The changes of its widths from day to day
remain valid, but their level drifts. The level is one number per horizon, the log of a factor. `level_of`
estimates it from days after the training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.base import ForecastModel

# Limit of the correction: a larger factor would mean wrong outcomes, not a calmer or wilder market.
MAX_LOG_FACTOR = float(np.log(2.0))
# Strength of the shrinkage to no correction, as a number of independent outcomes.
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
            level: Added to the log of the width and of the volatility, by anchor horizon. It replaces the
                current level; an absent anchor is not shifted.

        Raises:
            ValueError: A horizon is not an anchor, or a shift is out of range.
        """
        ...


def level_of(widths: Floats, outcomes: Floats, *, horizon: int, days: int) -> float:
    """Estimate the level at one horizon: the log of the ratio of outcomes to expected absolute returns.

    Args:
        widths: Expected absolute log return of each forecast, (n,); see `expected_sizes`.
        outcomes: Absolute log return that followed, (n,).
        horizon: Days ahead.
        days: Number of days that the origins span. Divided by the horizon, it is the number of independent
            outcomes, since coins move together and returns over longer horizons overlap.

    Returns:
        The log factor, shrunk to 0 by PRIOR_OUTCOMES and clipped to MAX_LOG_FACTOR; 0 without outcomes.
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
    """Check a level; return its non-zero shifts by anchor.

    Raises:
        ValueError: A horizon is not an anchor, or a shift is not finite or exceeds MAX_LOG_FACTOR.
    """
    for horizon, shift in level.items():
        if horizon not in anchors:
            raise ValueError(f"the level is given at {horizon} days, and the anchors are {list(anchors)}")
        if not abs(shift) <= MAX_LOG_FACTOR:
            raise ValueError(f"the level at {horizon} days is {shift}; at most {MAX_LOG_FACTOR:.3f} in size")
    return {int(horizon): float(shift) for horizon, shift in sorted(level.items()) if shift}


def level_to_json(level: Mapping[int, float]) -> dict[str, float]:
    """Return the level with horizons as strings, which JSON needs as keys."""
    return {str(horizon): shift for horizon, shift in level.items()}


def level_from_json(plain: Mapping[str, float]) -> dict[int, float]:
    """Parse the output of `level_to_json`."""
    return {int(horizon): float(shift) for horizon, shift in plain.items()}
