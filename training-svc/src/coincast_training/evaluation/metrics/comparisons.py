"""Compare one model with another on the same coins and days."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_training.evaluation.metrics.scores import volatility_direction
from coincast_training.evaluation.metrics.significance import (
    diebold_mariano,
    skill_interval,
    skill_percent,
)
from coincast_training.evaluation.metrics.slices import Pair

Floats = NDArray[np.float64]


def compare_points(p: Pair) -> dict[str, Any]:
    """Return the MAPE of both models, and the skill of the first against the second."""
    mine, other = p.a.absolute_percent[p.in_a], p.b.absolute_percent[p.in_b]
    return {
        "forecasts": len(mine),
        "mape_percent": float(mine.mean()),
        "baseline_mape_percent": float(other.mean()),
        "mape_ratio": float(mine.mean() / other.mean()),
        **_skill(mine, other, p),
    }


def compare_distributions(p: Pair) -> dict[str, Any]:
    """Return the CRPS and Winkler skill of the first model against the second.

    The result also counts the coins on which the first model has the better CRPS, and gives the skill by
    year.
    """
    mine, other = p.a.crps[p.in_a], p.b.crps[p.in_b]
    better = {str(c): skill_percent(mine[p.coins == c], other[p.coins == c]) for c in np.unique(p.coins)}
    return {
        "forecasts": len(mine),
        **_skill(mine, other, p),
        "coins_better": sum(v > 0 for v in better.values()),
        "coins": len(better),
        "by_coin_percent": better,
        "by_year_percent": _by_year(mine, other, p.dates),
        "winkler_80": _skill(p.a.winkler[p.in_a], p.b.winkler[p.in_b], p),
    }


def compare_volatility(p: Pair) -> dict[str, Any]:
    """Return the QLIKE gain of the first model, and by how many points it forecasts the direction better.

    `qlike_at_right_level` compares the models after each variance is scaled to the right mean level.
    """
    out: dict[str, Any] = {}
    mine, other = p.a.qlike[p.in_a], p.b.qlike[p.in_b]
    good = np.isfinite(mine) & np.isfinite(other)
    if good.any():
        shared = Pair(p.a, p.b, p.in_a[good], p.in_b[good])
        out["qlike"] = _skill(mine[good], other[good], shared)
        level_a, level_b = (_at_right_level(s, at[good]) for s, at in ((p.a, p.in_a), (p.b, p.in_b)))
        out["qlike_at_right_level"] = _skill(level_a, level_b, shared)
    rises = np.isfinite(p.a.rows.volatility_rise[p.in_a]) & np.isfinite(p.b.rows.volatility_rise[p.in_b])
    if rises.any():
        right_a, right_b = volatility_direction(p.a)[p.in_a][rises], volatility_direction(p.b)[p.in_b][rises]
        out["direction_points"] = 100 * float(right_a.mean() - right_b.mean())
    return out


def _at_right_level(s: Any, at: NDArray[np.int64]) -> Floats:
    share = s.outcomes.realised[at] / s.rows.variance[at]
    share = share / np.nanmean(share)
    return np.asarray(share - np.log(share) - 1)


def _by_year(mine: Floats, other: Floats, dates: NDArray[np.datetime64]) -> dict[str, float]:
    years = dates.astype("datetime64[Y]")
    return {str(y): skill_percent(mine[years == y], other[years == y]) for y in np.unique(years)}


def _skill(mine: Floats, other: Floats, p: Pair) -> dict[str, Any]:
    return {
        "skill_percent": skill_percent(mine, other),
        "interval": list(skill_interval(mine, other, p.dates, p.a.horizon)),
        "diebold_mariano": diebold_mariano(mine, other, p.dates, p.a.horizon),
    }
