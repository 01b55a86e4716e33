"""Simulate simple strategies after costs: sized by forecast volatility, or by the sign of a forecast."""

from __future__ import annotations

from typing import Any

import empyrical
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coincast_training.evaluation.metrics.slices import Slice

Floats = NDArray[np.float64]
COST = 0.001
DAYS_A_YEAR = 365
TARGET_DAILY = 0.4 / np.sqrt(DAYS_A_YEAR)


def equity(s: Slice, kind: str) -> pd.Series[float]:
    """Return daily returns after costs of an equally weighted book over the coins, by date of the return.

    `hold`: always one; `sized`: 40 % a year over the forecast volatility, at most one; `signed`: plus or
    minus one by the forecast direction of the price. s must be at one day.
    """
    table = pd.DataFrame({"coin": s.rows.coin, "day": s.rows.origin, "position": _position(s, kind)})
    table["move"] = np.expm1(s.outcomes.log_return)
    # Reference models forecast on every eighth day only; on other days their book is empty, which counts.
    days = pd.date_range(table["day"].min(), table["day"].max(), freq="D", name="day")
    positions = _by_day(table, "position", days)
    count = table.groupby("day")["coin"].count().reindex(days).ffill()
    traded = positions.diff().fillna(positions).abs().sum(axis=1)
    return ((positions * _by_day(table, "move", days)).sum(axis=1) - COST * traded) / count


def _by_day(table: pd.DataFrame, column: str, days: pd.DatetimeIndex) -> pd.DataFrame:
    return table.pivot(index="day", columns="coin", values=column).reindex(days).fillna(0.0)


def _position(s: Slice, kind: str) -> Floats:
    if kind == "hold":
        return np.ones(len(s))
    if kind == "sized":
        return np.asarray(np.minimum(TARGET_DAILY / np.sqrt(s.rows.variance), 1.0))
    view = np.where(np.isfinite(s.rows.price_rise), s.rows.price_rise - 0.5, s.rows.point - s.rows.last_price)
    return np.asarray(np.sign(view))


def strategy_scores(returns: pd.Series[float]) -> dict[str, Any]:
    """Return Sharpe, Sortino, maximum drawdown, share of days above zero and growth, by empyrical."""
    moved = returns[returns != 0]
    return {
        "sharpe": float(empyrical.sharpe_ratio(returns, annualization=DAYS_A_YEAR)),
        "sortino": float(empyrical.sortino_ratio(returns, annualization=DAYS_A_YEAR)),
        "max_drawdown_percent": 100 * float(empyrical.max_drawdown(returns)),
        "hit_rate_percent": 100 * float((moved > 0).mean()) if len(moved) else float("nan"),
        "annual_return_percent": 100 * float(empyrical.annual_return(returns, annualization=DAYS_A_YEAR)),
        "cost_basis_points": 1e4 * COST,
    }
