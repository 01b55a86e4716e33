"""How variance runs over the hours of the week, estimated from the past only.

Variance of crypto assets runs from about 0.7 of its mean in the small hours (UTC) to 1.4 at 14:00, and is
lower at weekends. Dividing it out before averaging the last hours, and multiplying it in for the coming
ones, is what makes intervals right at every hour of the day (Andersen and Bollerslev 1997).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.candles import Hours
from coincast_modelkit.hourly.volatility import trailing_mean

HOURS_A_WEEK = 168
# 1970-01-01 was a Thursday: this many hours lie between the Monday before it and the epoch.
_MONDAY_OFFSET = 72
# A coin's own cell counts as much as the panel's once it has seen this many weeks.
PRIOR_WEEKS = 26.0
RENEWAL_DAYS = 180


def hour_of_week(hours: Hours) -> npt.NDArray[np.int64]:
    """Return the hour of the week of each hour's start, (n,): 0 is Monday 00:00 UTC."""
    since = np.asarray(hours, dtype="datetime64[h]").astype(np.int64)
    return np.asarray((since + _MONDAY_OFFSET) % HOURS_A_WEEK)


@dataclass(frozen=True, slots=True, eq=False)
class WeekProfile:
    """Variance factors (168,) of the hours of the week, Monday 00:00 first, with mean 1."""

    factors: Floats

    @classmethod
    def flat(cls) -> WeekProfile:
        """Return the profile of an asset without seasonality."""
        return cls(np.ones(HOURS_A_WEEK))

    def at(self, hours: Hours) -> Floats:
        """Return the factor of each hour, (n,)."""
        return np.asarray(self.factors[hour_of_week(hours)])

    def ahead(self, closes_at: Hours, horizon: int) -> Floats:
        """Return the mean factor of the `horizon` hours that begin at each moment, (n,)."""
        twice = np.concatenate([[0.0], np.cumsum(np.resize(self.factors, HOURS_A_WEEK + horizon))])
        means = (twice[horizon : horizon + HOURS_A_WEEK] - twice[:HOURS_A_WEEK]) / horizon
        return np.asarray(means[hour_of_week(closes_at)])


@dataclass(frozen=True, slots=True, eq=False)
class ProfileCells:
    """Mean deviations of log variance by hour of the week, (168,), and how many weeks each has seen."""

    deviations: Floats
    weeks: Floats


def profile_cells(hours: Hours, variance: Floats) -> ProfileCells:
    """Return the cells of one coin's past: deviations of log variance from the mean of the week before.

    Args:
        hours: Start of each hour, (n,).
        variance: Variance of each hour, (n,), NaN where it is missing.
    """
    logs = np.log(variance)
    deviation = logs - trailing_mean(logs, HOURS_A_WEEK)
    known = np.isfinite(deviation)
    cell = hour_of_week(hours)[known]
    count = np.bincount(cell, minlength=HOURS_A_WEEK).astype(np.float64)
    total = np.bincount(cell, weights=deviation[known], minlength=HOURS_A_WEEK)
    return ProfileCells(total / np.maximum(count, 1), count)


def panel_profiles(cells: Mapping[str, ProfileCells]) -> tuple[WeekProfile, dict[str, WeekProfile]]:
    """Return the panel's profile, and that of each coin shrunk towards it by PRIOR_WEEKS.

    Weeks of all coins count alike in the panel's profile. Without any week both are flat.
    """
    if not cells:
        return WeekProfile.flat(), {}
    weeks = np.stack([c.weeks for c in cells.values()])
    deviations = np.stack([c.deviations for c in cells.values()])
    pooled = (weeks * deviations).sum(axis=0) / np.maximum(weeks.sum(axis=0), 1)
    own = {
        coin: _normalised((c.weeks * c.deviations + PRIOR_WEEKS * pooled) / (c.weeks + PRIOR_WEEKS))
        for coin, c in cells.items()
    }
    return _normalised(pooled), own


def _normalised(logs: Floats) -> WeekProfile:
    factors = np.exp(logs)
    return WeekProfile(factors / factors.mean())
