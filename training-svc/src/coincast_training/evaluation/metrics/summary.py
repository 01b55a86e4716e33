"""Summarise all scores: by model, against the baselines, by coin, and of strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coincast_training.evaluation.metrics.comparisons import (
    compare_distributions,
    compare_points,
    compare_volatility,
)
from coincast_training.evaluation.metrics.scores import (
    distribution_scores,
    point_scores,
    price_direction,
    volatility_scores,
)
from coincast_training.evaluation.metrics.slices import Slice, models_at, pair
from coincast_training.evaluation.metrics.strategy import DailyReturns, equity, strategy_scores

Slices = Mapping[tuple[str, int], Slice]
DISTRIBUTION_BASELINES = ("gaussian_rw_60", "garch_normal", "garch_t_fhs", "har")
POINT_BASELINES = ("random_walk", "moving_average_30")
VOLATILITY_BASELINES = ("garch_normal", "garch_t_fhs", "har", "gaussian_rw_60")


def summarise(slices: Slices, horizons: Sequence[int]) -> dict[str, Any]:
    """Return all scores as in evaluation.json, keyed by horizon (as text) and model."""
    return {
        "models": {str(h): {s.model: _score(s) for s in models_at(slices, h)} for h in horizons},
        "against": {str(h): {s.model: _against(slices, s) for s in models_at(slices, h)} for h in horizons},
        "by_coin_mape": {str(h): _by_coin(slices, h) for h in horizons},
        "strategies": strategies(slices),
    }


def _score(s: Slice) -> dict[str, Any]:
    out: dict[str, Any] = {"point": point_scores(s)}
    if s.has_distribution:
        out["distribution"] = distribution_scores(s)
    if volatility := volatility_scores(s):
        out["volatility"] = volatility
    if direction := price_direction(s):
        out["price_direction"] = direction
    return out


def _against(slices: Slices, s: Slice) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for kind, names, compare in (
        ("point", POINT_BASELINES, compare_points),
        ("distribution", DISTRIBUTION_BASELINES, compare_distributions),
        ("volatility", VOLATILITY_BASELINES, compare_volatility),
    ):
        for name in names:
            p = pair(slices, s.model, name, s.horizon)
            if p is None or name == s.model:
                continue
            if kind == "distribution" and not (p.a.has_distribution and p.b.has_distribution):
                continue
            if figures := compare(p):
                out.setdefault(name, {})[kind] = figures
    return out


def _by_coin(slices: Slices, horizon: int) -> dict[str, dict[str, float]]:
    return {
        s.model: {str(c): float(s.absolute_percent[s.rows.coin == c].mean()) for c in np.unique(s.rows.coin)}
        for s in models_at(slices, horizon)
    }


def curves(slices: Slices) -> dict[str, DailyReturns]:
    """Return the daily returns of each strategy on one-day forecasts: hold, sized or signed by a model."""
    found = {}
    for s in models_at(slices, 1):
        if s.model == "random_walk":
            found["hold"] = equity(s, "hold")
        if np.isfinite(s.rows.variance).all() and len(s):
            found[f"sized by {s.model}"] = equity(s, "sized")
        if price_direction(s):
            found[f"signed by {s.model}"] = equity(s, "signed")
    return found


def strategies(slices: Slices) -> dict[str, Any]:
    """Return the scores of the strategies of `curves` that have at least 30 days."""
    return {
        name: strategy_scores(daily.returns) for name, daily in curves(slices).items() if len(daily) >= 30
    }
