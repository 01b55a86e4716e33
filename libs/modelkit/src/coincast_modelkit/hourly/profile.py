"""The profile of variance over the hours of the week, estimated from the past only.

The variance of crypto assets ranges from about 0.7 of its mean in the early morning (UTC) to 1.4 at 14:00,
and is lower at weekends. The model divides past variance by the profile before it averages, and multiplies
the forecast by the profile of the coming hours. Without this, intervals would be too wide at some hours of
the day and too narrow at others (Andersen and Bollerslev 1997).
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
# Hours from the Monday before the epoch to the epoch: 1970-01-01 was a Thursday.
_MONDAY_OFFSET = 72
# After this many weeks a coin's own estimate of an hour has the same weight as the panel's.
PRIOR_WEEKS = 26.0
RENEWAL_DAYS = 180


def hour_of_week(hours: Hours) -> npt.NDArray[np.int64]:
    """Return the hour of the week at which each hour starts, (n,): 0 is Monday 00:00 UTC."""
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
    """Mean deviation of log variance by hour of the week, and number of weeks in each mean, (168,) each."""

    deviations: Floats
    weeks: Floats


def profile_cells(hours: Hours, variance: Floats) -> ProfileCells:
    """Return the mean deviations of log variance from the mean of the preceding week, by hour of the week.

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
    """Return the panel's profile, and the profile of each coin, shrunk towards the panel's by PRIOR_WEEKS.

    In the panel's profile the weeks of all coins have equal weight. Without any coin the profile is flat.
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
