"""Simulate simple strategies after costs: sized by the forecast volatility, or signed by the direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_training.evaluation.metrics.slices import Slice
from coincast_training.performance import (
    DAYS_PER_YEAR,
    annual_return,
    max_drawdown,
    sharpe_ratio,
    sortino_ratio,
)

Floats = NDArray[np.float64]
COST = 0.001
TARGET_DAILY = 0.4 / np.sqrt(DAYS_PER_YEAR)


@dataclass(frozen=True, slots=True)
class DailyReturns:
    """Returns of a strategy after costs: `returns` (D,) and `days` (D,), the days of the forecasts."""

    days: NDArray[np.datetime64]
    returns: Floats

    def __len__(self) -> int:
        return len(self.returns)


def equity(s: Slice, kind: str) -> DailyReturns:
    """Return the daily returns after costs of an equally weighted portfolio, from the first origin on.

    Args:
        s: Forecasts for one day ahead.
        kind: `hold` is always invested. `sized` invests the share that gives a volatility of 40 % a year,
            at most the whole. `signed` buys or sells by the direction of the forecast.
    """
    coins, coin = np.unique(s.rows.coin, return_inverse=True)
    origins = s.rows.origin.astype("datetime64[D]")
    day = (origins - origins.min()).astype(np.int64)
    days = int(day.max()) + 1
    # Some baselines forecast only every eighth day. On the days between, their portfolio is empty, with a
    # return of 0, and these days count in the scores.
    positions, moves = np.zeros((days, len(coins))), np.zeros((days, len(coins)))
    positions[day, coin] = _position(s, kind)
    moves[day, coin] = np.expm1(s.outcomes.log_return)
    counts = np.bincount(day, minlength=days)
    newest = np.maximum.accumulate(np.where(counts > 0, np.arange(days), 0))
    traded = np.abs(np.diff(positions, axis=0, prepend=0.0)).sum(axis=1)
    return DailyReturns(
        days=origins.min() + np.arange(days).astype("timedelta64[D]"),
        returns=((positions * moves).sum(axis=1) - COST * traded) / counts[newest],
    )


def _position(s: Slice, kind: str) -> Floats:
    if kind == "hold":
        return np.ones(len(s))
    if kind == "sized":
        return np.asarray(np.minimum(TARGET_DAILY / np.sqrt(s.rows.variance), 1.0))
    view = np.where(np.isfinite(s.rows.price_rise), s.rows.price_rise - 0.5, s.rows.point - s.rows.last_price)
    return np.asarray(np.sign(view))


def strategy_scores(returns: Floats) -> dict[str, Any]:
    """Return Sharpe and Sortino ratios, maximum drawdown, share of winning days, and annual return."""
    moved = returns[returns != 0]
    return {
        "sharpe": sharpe_ratio(returns),
        "sortino": sortino_ratio(returns),
        "max_drawdown_percent": 100 * max_drawdown(returns),
        "hit_rate_percent": 100 * float((moved > 0).mean()) if len(moved) else float("nan"),
        "annual_return_percent": 100 * annual_return(returns),
        "cost_basis_points": 1e4 * COST,
    }
