"""The ensemble's member that reads hours, beside the daily pool, for coins whose hours are known.

It is a line with trees on what the line leaves. The daily members and their pool stay as they are, learnt
from their whole history. Where a coin's hours are known, the daily pool's scale and this member's are pooled
once more; where they are not, nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.hourly.day_measures import LEVEL_TERMS
from coincast_modelkit.models.ensemble.horizon_pool import Pool, outlook_of
from coincast_modelkit.models.scales import Inputs, LinearScale, linear_design

if TYPE_CHECKING:
    from lightgbm import Booster

HOURS = "hours"


def hours_design(inputs: Inputs, rows: Floats, spec: FeatureSpec) -> Floats:
    """Return the columns (n, K) of the line: those of the daily line, and the hours (n, 17).

    Levels enter as distances from the base volatility, shapes as they are.
    """
    levels = rows[:, : len(LEVEL_TERMS)] - inputs.base[:, None]
    return np.column_stack([linear_design(inputs, spec), levels, rows[:, len(LEVEL_TERMS) :]])


def hours_features(inputs: Inputs, rows: Floats) -> Floats:
    """Return the columns (n, F + 17) of the trees: all features, and the hours as in the line."""
    levels = rows[:, : len(LEVEL_TERMS)] - inputs.base[:, None]
    return np.column_stack([inputs.features, levels, rows[:, len(LEVEL_TERMS) :]])


def hours_outlook(members: Floats, own: Floats) -> Floats:
    """Return the mean log volatility (n,) of the OUTLOOK members (n, M) and of the hours member (n,)."""
    return np.asarray((outlook_of(members) + own) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class HoursScale:
    """The fitted line and trees at one horizon; they add to the base volatility."""

    horizon: int
    line: LinearScale
    trees: Booster

    def forecast(self, inputs: Inputs, rows: Floats, spec: FeatureSpec) -> Floats:
        """Return the log standard deviation of the return over the horizon, (n,); NaN without hours."""
        design = hours_design(inputs, rows, spec)
        trees = np.asarray(self.trees.predict(hours_features(inputs, rows), num_threads=1))
        own = inputs.base + 0.5 * np.log(self.horizon) + self.line.forecast(design) + trees
        return np.where(np.isfinite(design).all(axis=1), own, np.nan)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the trees."""
        return {"horizon": self.horizon, "line": self.line.to_json()}

    @classmethod
    def from_json(cls, plain: dict[str, Any], trees: Booster) -> Self:
        """From `to_json` and the trees."""
        return cls(int(plain["horizon"]), LinearScale.from_json(plain["line"]), trees)


@dataclass(frozen=True, slots=True, eq=False)
class HoursMember:
    """The member at one horizon and its pool with the daily pool's scale, for one source of hours."""

    scale: HoursScale
    pool: Pool

    def to_json(self) -> dict[str, Any]:
        """Return everything but the trees."""
        return {**self.scale.to_json(), "pool": self.pool.to_json()}

    @classmethod
    def from_json(cls, plain: dict[str, Any], trees: Booster) -> Self:
        """From `to_json` and the trees."""
        return cls(HoursScale.from_json(plain, trees), Pool.from_json(plain["pool"]))
