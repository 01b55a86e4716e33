"""Risk statements and candles for the tests of their scoring."""

from __future__ import annotations

from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles
from coincast_modelkit.scenarios.statements import LossStatement, TouchStatement

FIRST = "2025-09-01"


def candles_of(
    closes: list[float],
    *,
    high: list[float] | None = None,
    low: list[float] | None = None,
    coin: str = "bitcoin",
) -> Candles:
    """Days from 1 September 2025 on; the last price of every statement is the close of 31 August, 100."""
    days = np.datetime64(FIRST) + np.arange(len(closes)).astype("timedelta64[D]")
    return Candles.of(
        coin,
        days,
        closes,
        high=closes if high is None else high,
        low=closes if low is None else low,
    )


def touch(level: float = 105.0, **changes: Any) -> TouchStatement:
    """A statement about three days."""
    values: dict[str, Any] = {
        "statement_id": f"touch-{level}",
        "coin_id": "bitcoin",
        "vs_currency": "usd",
        "as_of": "2025-08-31",
        "served_by": "ml_ensemble",
        "last_price": 100.0,
        "level": level,
        "first_day": 1,
        "touch": (0.2, 0.4, 0.6),
        "close_beyond": (0.1, 0.2, 0.3),
    }
    return TouchStatement(**(values | changes))


def losses(**changes: Any) -> LossStatement:
    """A statement about two days and two coins."""
    values: dict[str, Any] = {
        "statement_id": "losses",
        "vs_currency": "usd",
        "as_of": "2025-08-31",
        "served_by": "ml_ensemble",
        "days": 2,
        "weights": {"bitcoin": 0.75, "ethereum": -0.25},
        "last_prices": {"bitcoin": 100.0, "ethereum": 10.0},
        "levels": ((90.0, 0.05, 0.08), (99.0, 0.2, 0.25)),
    }
    return LossStatement(**(values | changes))
