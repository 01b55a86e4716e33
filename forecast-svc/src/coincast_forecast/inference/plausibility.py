"""Check a model's output before it is served.

A corrupt weight, a bad input or a broken library gives numbers, not exceptions. What passes here is a
distribution that can be read as prices: finite, ordered, around the last price, and of a width that the
coin's own past makes possible.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput

NOT_FINITE = "no finite forecast"
# A close a thousand times higher or lower than the last one, even at the outermost quantile of 30 days.
MAX_LOG_RETURN = float(np.log(1000.0))
# The 80 % interval of a Gaussian walk is 2.56 daily standard deviations wide, times the root of the days.
# Models deviate from the realised spread by far less than these factors; coins that hardly moved lately, or
# by a single step, get the floor.
MAX_WIDTH_FACTOR = 40.0
MIN_DAILY_VOLATILITY = 0.01
SPREAD_DAYS = 90


def implausible_reasons(forecasts: Forecasts, inputs: Sequence[ModelInput]) -> list[str]:
    """Return why each coin's forecast cannot be served; an empty string where it can.

    Args:
        forecasts: A batch of forecasts.
        inputs: What it was computed from, in the same order.
    """
    quantiles = forecasts.log_return_quantiles
    reasons = [""] * len(inputs)

    def mark(failed: npt.ArrayLike, reason: str) -> None:
        for index in np.flatnonzero(failed):
            reasons[index] = reasons[index] or reason

    mark(~np.asarray(forecasts.usable()), NOT_FINITE)
    last_prices = np.array([one.last_price for one in inputs])
    mark(~np.isclose(forecasts.last_price, last_prices, rtol=1e-6, atol=0.0), "a forecast from another price")
    volatility = forecasts.volatility
    mark(~(np.isfinite(volatility) & (volatility >= 0)).all(axis=-1), "no finite volatility")
    mark((np.diff(quantiles, axis=-1) < 0).any(axis=(1, 2)), "quantiles that are not in order")
    extreme = np.abs(quantiles[..., [0, -1]]).max(axis=(1, 2), initial=0.0) > MAX_LOG_RETURN
    mark(extreme, "a price more than a thousand times the last one, or less than a thousandth of it")
    width = _width_80(forecasts.probabilities, quantiles)
    spread = np.array([_daily_spread(one.candles.close) for one in inputs])
    roots = np.sqrt(np.asarray(forecasts.horizons, dtype=np.float64))
    most = MAX_WIDTH_FACTOR * np.maximum(spread, MIN_DAILY_VOLATILITY)[:, None] * roots
    mark((width > most).any(axis=-1), "an interval far wider than anything in the coin's past")
    moves = spread > MIN_DAILY_VOLATILITY
    mark((width <= 0).any(axis=-1) & moves, "an interval without width for a coin that moves")
    return reasons


def _width_80(probabilities: Floats, quantiles: Floats) -> Floats:
    """Return the width of the 80 % interval of each coin at each horizon, in log returns: (n, H)."""
    lower, upper = np.searchsorted(probabilities, [0.1 - 1e-9, 0.9 - 1e-9])
    return np.asarray(quantiles[..., min(upper, len(probabilities) - 1)] - quantiles[..., lower])


def _daily_spread(closes: Floats) -> float:
    """Return the realised standard deviation of the daily log return over the last 90 days."""
    recent = closes[-SPREAD_DAYS - 1 :]
    recent = recent[np.isfinite(recent) & (recent > 0)]
    return float(np.sqrt(np.mean(np.diff(np.log(recent)) ** 2))) if len(recent) > 1 else 0.0
