"""The naive forecast: the last price with wide intervals, from closes only. It is pure and cannot fail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from coincast_modelkit.candles import Candles
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.model_input import ModelInput

# Quantiles of the standard normal, from the standard library, since scipy is slow to import.
NORMAL = np.array([NormalDist().inv_cdf(float(p)) for p in PROBABILITIES])
# Deliberately wide: 1.5 times realised volatility, at least 3 % a day, and 8 % a day without enough history.
WIDENING = 1.5
MIN_DAILY_VOLATILITY = 0.03
UNKNOWN_DAILY_VOLATILITY = 0.08
SPAN_DAYS = 60


def daily_volatility(closes: np.ndarray) -> float:
    """Return the realised standard deviation of the daily log return over the last 60 closes, widened."""
    returns = np.diff(np.log(closes[-SPAN_DAYS - 1 :]))
    if len(returns) < 5 or not np.isfinite(returns).all():
        return UNKNOWN_DAILY_VOLATILITY
    return max(MIN_DAILY_VOLATILITY, WIDENING * float(np.sqrt(np.mean(returns**2))))


def without_features(candles: Candles) -> ModelInput:
    """Return a model input without features."""
    nothing = np.empty(0)
    return ModelInput(
        coin_id=candles.coin_id,
        as_of=candles.as_of,
        last_price=candles.last_price,
        row=nothing,
        window=nothing,
        candles=candles,
    )


def forecast(prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
    """Return a driftless Gaussian random walk around each coin's last price."""
    n, h = len(prepared), len(horizons)
    daily = np.array([daily_volatility(p.candles.close) for p in prepared])
    spread = daily[:, None] * np.sqrt(np.asarray(horizons, dtype=np.float64))[None, :]
    unknown = np.full((n, h), math.nan)
    return Forecasts(
        coin_ids=tuple(p.coin_id for p in prepared),
        as_of=tuple(p.as_of for p in prepared),
        last_price=np.array([p.last_price for p in prepared]),
        horizons=tuple(horizons),
        probabilities=PROBABILITIES,
        log_return_quantiles=spread[:, :, None] * NORMAL[None, None, :],
        volatility=np.repeat(daily[:, None], h, axis=1),
        trailing_volatility=unknown,
        rise_of_volatility=unknown,
    )
