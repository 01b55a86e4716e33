"""Checks of what the hourly model gives, before it is served or moves a daily forecast.

A corrupt weight, a bad input or a broken library gives numbers or an exception; either costs the coin its
hourly forecast, with the reason, and never the reply.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincast_forecast.inference.plausibility import daily_spread, distribution_faults
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyCandles


def hourly_faults(forecasts: Forecasts, candles: Sequence[HourlyCandles]) -> list[str]:
    """Return why each coin's forecast by the hour cannot be served; an empty string where it can.

    Args:
        forecasts: A batch of forecasts whose horizons are hours.
        candles: The hours that it was computed from, in the same order.
    """
    if len(forecasts) != len(candles):
        raise ValueError("the forecasts are not those of the requested coins")
    return distribution_faults(
        forecasts,
        last_prices=np.array([one.last_price for one in candles]),
        daily_spreads=np.array([_spread(one) for one in candles]),
        days=np.asarray(forecasts.horizons, dtype=np.float64) / HOURS_A_DAY,
    )


def _spread(candles: HourlyCandles) -> float:
    """Return the realised standard deviation of a daily log return, from closes a day apart."""
    closes = np.asarray(candles.close, dtype=np.float64)
    return daily_spread(closes[::-HOURS_A_DAY][::-1])


def failure_reason(error: Exception) -> str:
    """Return what a reply says where the hourly model raised an error."""
    return f"the hourly model failed ({type(error).__name__})"
