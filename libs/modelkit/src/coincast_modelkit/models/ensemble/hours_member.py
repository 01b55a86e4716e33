"""The ensemble's member that reads hours: a line beside the daily pool, for coins whose hours are known.

The daily members and their pool stay as they are, learnt from their whole history. Where a coin's hours are
known, the daily pool's scale and the line's are pooled once more; where they are not, nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.hourly.day_measures import LEVEL_TERMS
from coincast_modelkit.models.ensemble.horizon_pool import Pool, outlook_of
from coincast_modelkit.models.scales import Inputs, LinearScale, linear_design

HOURS = "hours"
# The order of the second pool.
DAILY_POOL, LINE = 0, 1


def hours_design(inputs: Inputs, rows: Floats, spec: FeatureSpec) -> Floats:
    """Return the columns (n, K) of the line: those of the daily line, and the hours (n, 17).

    Levels enter as distances from the base volatility, shapes as they are.
    """
    levels = rows[:, : len(LEVEL_TERMS)] - inputs.base[:, None]
    return np.column_stack([linear_design(inputs, spec), levels, rows[:, len(LEVEL_TERMS) :]])


def hours_outlook(members: Floats, line: Floats) -> Floats:
    """Return the mean log realised volatility (n,) of the OUTLOOK members (n, M) and of the line (n,)."""
    return np.asarray((outlook_of(members) + line) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class HoursMember:
    """The line at one horizon and its pool with the daily pool's scale, for one source of hours."""

    horizon: int
    line: LinearScale
    pool: Pool

    def forecast(self, inputs: Inputs, rows: Floats, spec: FeatureSpec) -> Floats:
        """Return the line's log standard deviation of the return over the horizon, (n,)."""
        root = 0.5 * np.log(self.horizon)
        return np.asarray(inputs.base + root + self.line.forecast(hours_design(inputs, rows, spec)))

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {"horizon": self.horizon, "line": self.line.to_json(), "pool": self.pool.to_json()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """From `to_json`."""
        return cls(int(plain["horizon"]), LinearScale.from_json(plain["line"]), Pool.from_json(plain["pool"]))
