"""Check forecasts before they are served or a version is taken into service.

A corrupt weight, a bad input or a broken library returns wrong numbers and raises nothing. A distribution
must therefore be finite, ordered and start from the last price, and its width must be plausible for the
coin's past.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput

NOT_FINITE = "no finite forecast"
# Limit of the outermost quantiles at 30 days: a price a thousand times higher or lower than the last one.
MAX_LOG_RETURN = float(np.log(1000.0))
# Limit of the width of the 80 % interval, in daily standard deviations times the root of the days. For a
# Gaussian random walk the width is 2.56; models deviate from it by far less than this factor.
# MIN_DAILY_VOLATILITY is used for coins that hardly moved lately, or only in a single step.
MAX_WIDTH_FACTOR = 40.0
MIN_DAILY_VOLATILITY = 0.01
SPREAD_DAYS = 90


def implausible_reasons(forecasts: Forecasts, inputs: Sequence[ModelInput]) -> list[str]:
    """Return why each coin's forecast cannot be served; empty strings for plausible forecasts.

    Args:
        forecasts: A batch of forecasts.
        inputs: The inputs of the forecasts, in the same order.
    """
    return distribution_faults(
        forecasts,
        last_prices=np.array([one.last_price for one in inputs]),
        daily_spreads=np.array([daily_spread(one.candles.close) for one in inputs]),
        days=np.asarray(forecasts.horizons, dtype=np.float64),
    )


def distribution_faults(
    forecasts: Forecasts, *, last_prices: Floats, daily_spreads: Floats, days: Floats
) -> list[str]:
    """Return why each coin's forecast cannot be read as prices; an empty string where it can.

    Args:
        forecasts: A batch of forecasts.
        last_prices: The price that each starts from.
        daily_spreads: The realised standard deviation of a daily log return of each coin.
        days: The horizons in days.
    """
    quantiles = forecasts.log_return_quantiles
    reasons = [""] * len(last_prices)

    def mark(failed: npt.ArrayLike, reason: str) -> None:
        for index in np.flatnonzero(failed):
            reasons[index] = reasons[index] or reason

    mark(~np.asarray(forecasts.usable()), NOT_FINITE)
    mark(~np.isclose(forecasts.last_price, last_prices, rtol=1e-6, atol=0.0), "a forecast from another price")
    volatility = forecasts.volatility
    mark(~(np.isfinite(volatility) & (volatility >= 0)).all(axis=-1), "no finite volatility")
    mark((np.diff(quantiles, axis=-1) < 0).any(axis=(1, 2)), "quantiles that are not in order")
    extreme = np.abs(quantiles[..., [0, -1]]).max(axis=(1, 2), initial=0.0) > MAX_LOG_RETURN
    mark(extreme, "a price more than a thousand times the last one, or less than a thousandth of it")
    width = _width_80(forecasts.probabilities, quantiles)
    most = MAX_WIDTH_FACTOR * np.maximum(daily_spreads, MIN_DAILY_VOLATILITY)[:, None] * np.sqrt(days)
    mark((width > most).any(axis=-1), "an interval far wider than anything in the coin's past")
    moves = daily_spreads > MIN_DAILY_VOLATILITY
    mark((width <= 0).any(axis=-1) & moves, "an interval without width for a coin that moves")
    return reasons


def _width_80(probabilities: Floats, quantiles: Floats) -> Floats:
    """Return the width of the 80 % interval of each coin at each horizon, in log returns: (n, H)."""
    lower, upper = np.searchsorted(probabilities, [0.1 - 1e-9, 0.9 - 1e-9])
    return np.asarray(quantiles[..., min(upper, len(probabilities) - 1)] - quantiles[..., lower])


def daily_spread(closes: Floats) -> float:
    """Return the realised standard deviation of the daily log return over the last 90 days."""
    recent = closes[-SPREAD_DAYS - 1 :]
    recent = recent[np.isfinite(recent) & (recent > 0)]
    return float(np.sqrt(np.mean(np.diff(np.log(recent)) ** 2))) if len(recent) > 1 else 0.0
