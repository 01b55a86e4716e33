"""Simulate the returns of three simple strategies on one-day forecasts, after costs and slippage.

Each strategy has equal weights over the coins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coincast_training.performance import DAYS_PER_YEAR, max_drawdown, sharpe_ratio, sortino_ratio
from coincast_training.pipeline.losses import quantile_at
from coincast_training.trainers.base import WalkForward

Floats = NDArray[np.float64]
TARGET_VOLATILITY = 0.40
# The 10 % to 90 % range of a Gaussian is 2.563 standard deviations wide.
WIDTH_OF_80 = 2.563


@dataclass(frozen=True, slots=True)
class Costs:
    """Trading costs in basis points of the amount traded."""

    fee_bp: float = 10.0
    slippage_bp: float = 5.0

    @property
    def share(self) -> float:
        """Return the total as a share of the amount traded."""
        return (self.fee_bp + self.slippage_bp) / 10_000


@dataclass(frozen=True, slots=True)
class Curve:
    """Daily returns (d,) of one strategy after costs, and its figures."""

    name: str
    days: NDArray[np.datetime64]
    returns: Floats
    figures: dict[str, float | None]

    def equity(self) -> Floats:
        """Return the growth of 1 invested, (d,)."""
        return np.asarray(np.cumprod(1 + self.returns))

    def drawdown(self) -> Floats:
        """Return the drawdown below the running maximum, (d,), 0 or less."""
        equity = self.equity()
        return np.asarray(equity / np.maximum.accumulate(np.maximum(equity, 1.0)) - 1)


def run_strategies(forecast: WalkForward, costs: Costs) -> tuple[Curve, ...]:
    """Simulate buy and hold, the direction of the median, and long with a target volatility.

    The second one takes a position only if the median forecast exceeds the costs. The result is empty without
    one-day forecasts.
    """
    one = forecast.horizons == 1
    if not one.any():
        return ()
    table = _Table.of(forecast, one)
    hold = np.where(np.isfinite(table.returns), 1.0, 0.0)
    direction = np.where(np.abs(table.median) > costs.share, np.sign(table.median), 0.0)
    scaled = np.clip(TARGET_VOLATILITY / np.maximum(table.volatility, 1e-6), 0.0, 1.0)
    return tuple(
        _curve(name, table, np.nan_to_num(positions), costs)
        for name, positions in (
            ("buy and hold", hold),
            ("direction of the median", direction),
            (f"long at {100 * TARGET_VOLATILITY:.0f} % volatility", scaled),
        )
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """Arrays by day and coin, (d, c): simple return, median forecast, annualised forecast volatility."""

    days: NDArray[np.datetime64]
    returns: Floats
    median: Floats
    volatility: Floats

    @classmethod
    def of(cls, forecast: WalkForward, one: NDArray[np.bool_]) -> _Table:
        days, row = np.unique(forecast.origins[one], return_inverse=True)
        coins, column = np.unique(forecast.coin_ids[one], return_inverse=True)

        def spread(values: Floats) -> Floats:
            out = np.full((len(days), len(coins)), np.nan)
            out[row, column] = values[one]
            return out

        width = quantile_at(forecast, 0.9) - quantile_at(forecast, 0.1)
        return cls(
            days=days,
            returns=spread(np.expm1(forecast.actual_log_returns)),
            median=spread(quantile_at(forecast, 0.5)),
            volatility=spread(width / WIDTH_OF_80 * math.sqrt(DAYS_PER_YEAR)),
        )


def _curve(name: str, table: _Table, positions: Floats, costs: Costs) -> Curve:
    """Return the curve of positions (d, c) with equal weights over the traded coins, after costs."""
    trading = np.isfinite(table.returns)
    weight = positions * trading / np.maximum(trading.sum(axis=1, keepdims=True), 1)
    turnover = np.abs(np.diff(weight, axis=0, prepend=0.0)).sum(axis=1)
    returns = (weight * np.nan_to_num(table.returns)).sum(axis=1) - turnover * costs.share
    taken = (positions != 0) & trading
    return Curve(name, table.days, returns, _figures(returns, turnover, table, positions, taken))


def _figures(
    returns: Floats, turnover: Floats, table: _Table, positions: Floats, taken: NDArray[np.bool_]
) -> dict[str, float | None]:
    won = np.sign(table.returns[taken]) == np.sign(positions[taken])
    moved = bool(np.any(returns != 0))
    return {
        "total_return_percent": 100 * float(np.prod(1 + returns) - 1),
        "volatility_percent": 100 * float(returns.std() * math.sqrt(DAYS_PER_YEAR)),
        "sharpe": _known(sharpe_ratio(returns)) if moved else None,
        "sortino": _known(sortino_ratio(returns)) if moved else None,
        "max_drawdown_percent": 100 * max_drawdown(returns),
        "hit_rate_percent": 100 * float(won.mean()) if taken.any() else None,
        "days_in_the_market_percent": 100 * float(taken.any(axis=1).mean()),
        "turnover_a_day_percent": 100 * float(turnover.mean()),
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
