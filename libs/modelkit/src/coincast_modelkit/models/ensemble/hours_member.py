"""The hours member of the ensemble, for coins whose hourly candles are known.

It is a linear regression with boosted trees on its residuals. The daily members and their pool do not change;
they are fitted on the whole daily history. If the hours of a coin are known, a second pool combines the scale
of the daily pool with that of this member; otherwise the daily pool is used alone.
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
    """Return the columns (n, K) of the regression: those of the daily one, and the terms of the hours.

    Levels enter as distances from the base volatility, shapes without change.

    Args:
        inputs: The daily inputs of n rows.
        rows: Terms of the hours (`day_measures.TERMS`), (n, 17).
        spec: The features of the inputs.
    """
    levels = rows[:, : len(LEVEL_TERMS)] - inputs.base[:, None]
    return np.column_stack([linear_design(inputs, spec), levels, rows[:, len(LEVEL_TERMS) :]])


def hours_features(inputs: Inputs, rows: Floats) -> Floats:
    """Return the columns (n, F + 17) of the trees: all features, and the terms of the hours (n, 17)."""
    levels = rows[:, : len(LEVEL_TERMS)] - inputs.base[:, None]
    return np.column_stack([inputs.features, levels, rows[:, len(LEVEL_TERMS) :]])


def hours_outlook(members: Floats, own: Floats) -> Floats:
    """Return the mean log volatility (n,) of the OUTLOOK members (n, M) and of the hours member (n,)."""
    return np.asarray((outlook_of(members) + own) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class HoursScale:
    """The fitted regression and trees at one horizon; their sum is added to the base log volatility."""

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
        """Return the parameters as JSON values, without the trees."""
        return {"horizon": self.horizon, "line": self.line.to_json()}

    @classmethod
    def from_json(cls, plain: dict[str, Any], trees: Booster) -> Self:
        """Restore the scale from the output of `to_json` and the trees."""
        return cls(int(plain["horizon"]), LinearScale.from_json(plain["line"]), trees)


@dataclass(frozen=True, slots=True, eq=False)
class HoursMember:
    """The member at one horizon and its pool with the daily pool's scale, for one source of hours."""

    scale: HoursScale
    pool: Pool

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON values, without the trees."""
        return {**self.scale.to_json(), "pool": self.pool.to_json()}

    @classmethod
    def from_json(cls, plain: dict[str, Any], trees: Booster) -> Self:
        """Restore the member from the output of `to_json` and the trees."""
        return cls(HoursScale.from_json(plain, trees), Pool.from_json(plain["pool"]))
