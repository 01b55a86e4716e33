"""The technical model, a fallback without an artifact: last price, range volatility, the coin's residuals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.forecasts import MAX_HORIZON_DAYS, PROBABILITIES, Forecasts, checked_horizons
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import Attribution
from coincast_modelkit.models.distributions import (
    LEVELS,
    MIN_RESIDUALS,
    PRIOR_SPREAD,
    across_horizons,
    agreeing_volatility,
    assemble,
    normal_cdf,
    student_sizes,
)
from coincast_modelkit.volatility import FLOOR_DAILY_VARIANCE

MIN_HISTORY_DAYS = 30
DECAY = 0.94
ANCHORS = (1, 3, 7, 14, 30)
# This many independent residuals of the coin have the same weight as the prior shape.
PRIOR_ROWS = 250.0
# Sizes after calm, usual and wild days (columns), divided by those of all days, at each anchor (rows). They
# correct the exponential mean, which falls too far in calm periods and rises too far in wild ones. They were
# estimated from all coins before 2022, since one coin has too few independent months.
REGIME_SIZES: Floats = np.array(
    [
        [1.04, 0.975, 0.98],
        [1.09, 0.96, 0.93],
        [1.14, 0.945, 0.89],
        [1.13, 0.925, 0.89],
        [1.13, 0.885, 0.94],
    ]
)


class TechnicalModel:
    """A random walk whose volatility reverts from the coin's recent value to its long-run mean.

    The shape is that of the coin's own absolute residuals, mixed with a Student t; the fewer independent
    residuals there are, the more the Student t weighs. The distribution is symmetric: a drift estimated from
    one coin's past adds more error than it removes.
    """

    name = "technical"
    version = ""
    max_horizon_days = MAX_HORIZON_DAYS
    min_history_days = MIN_HISTORY_DAYS
    spec = FeatureSpec(names=())

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        """Forecast every coin at every horizon; see ForecastModel."""
        wanted = checked_horizons(horizons)
        shape = (len(prepared), len(wanted))
        volatility, trailing, rise = (np.full(shape, np.nan) for _ in range(3))
        quantiles = np.full((*shape, len(PROBABILITIES)), np.nan)
        for i, coin in enumerate(prepared):
            if len(coin.candles) >= self.min_history_days:
                trailing[i] = coin.trailing(wanted)
                volatility[i], quantiles[i], rise[i] = _forecast(coin, trailing[i], wanted)
        return assemble(
            prepared,
            wanted,
            quantiles=quantiles,
            volatility=volatility,
            trailing=trailing,
            rise=rise,
        )

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        """Return no attributions: the point forecast is the last price."""
        return []

    def save(self, folder: Path) -> None:
        """Write nothing, since the model has no state."""

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """Return a model; it has no state to read."""
        return cls()


def _forecast(coin: ModelInput, trailing: Floats, horizons: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """Forecast one coin.

    Args:
        coin: The coin.
        trailing: Trailing daily volatility, (H,).
        horizons: H horizons in days.

    Returns:
        Daily volatility (H,), log-return quantiles (H, Q), and the probability that volatility rises above
        the trailing one (H,).
    """
    candles, variance = coin.candles, coin.variance
    short = k.ewm_mean(variance, DECAY, min_rows=10)
    known = np.isfinite(variance)
    long_run = np.cumsum(np.where(known, variance, 0.0)) / np.maximum(np.cumsum(known), 1)
    anchors = [h for h in ANCHORS if h < len(candles) - 10]
    spread = _spread(candles, _scale(short, long_run, 1))
    sizes = np.stack([_sizes(candles, _scale(short, long_run, h), h, spread) for h in anchors])
    upper = across_horizons(anchors, sizes, horizons)
    now = _scale(short[-1], long_run[-1], np.asarray(horizons))
    regime = across_horizons(ANCHORS, REGIME_SIZES[:, coin.regime], horizons)
    widths = (now * regime * np.sqrt(horizons))[:, None] * upper
    quantiles = np.concatenate([-widths[:, :0:-1], widths], axis=1)
    error = 0.28 + 0.27 / np.asarray(horizons)
    rise = normal_cdf((np.log(now) - 0.5 * error**2 - np.log(trailing)) / error)
    return agreeing_volatility(spread * now, quantiles, horizons), quantiles, rise


def _scale(short: Floats, long_run: Floats, horizon: int | npt.NDArray[np.int64]) -> Floats:
    """Return the daily volatility of n days over one horizon, or of one day over n horizons: (n,).

    It is the short-run mean, which reverts to the long-run mean at 3 % a day.
    """
    stay = (1 - 0.97**horizon) / (horizon * 0.03)
    return np.asarray(np.sqrt(np.maximum(stay * short + (1 - stay) * long_run, FLOOR_DAILY_VARIANCE)))


def _standardised(candles: Candles, scale: Floats, horizon: int) -> Floats:
    """Return the known absolute returns over a horizon, in units of the scale (n,) of their first day."""
    logs = np.log(candles.close)
    found = np.abs((logs[horizon:] - logs[:-horizon]) / (scale[:-horizon] * np.sqrt(horizon)))
    return np.asarray(found[np.isfinite(found)])


def _spread(candles: Candles, scale: Floats) -> float:
    """Return the RMS of the coin's daily residuals, shrunk to PRIOR_SPREAD: ranges understate volatility."""
    found = np.minimum(_standardised(candles, scale, 1), 5.0)
    days = len(found)
    own = float(np.mean(found**2)) if days else 0.0
    return float(np.sqrt((days * own + 60 * PRIOR_SPREAD**2) / (days + 60)))


def _sizes(candles: Candles, scale: Floats, horizon: int, spread: float) -> Floats:
    """Return absolute standardised returns at LEVELS (HALF + 1,): the coin's own, mixed with a Student t."""
    found = _standardised(candles, scale, horizon)
    prior = spread * student_sizes(horizon)
    if len(found) < MIN_RESIDUALS:
        return prior
    # This equals np.quantile and takes a third of the time.
    own = np.interp(LEVELS * (len(found) - 1), np.arange(len(found)), np.sort(found))
    # Beyond the coin's own quantiles, use the tail of the prior, scaled so that it continues them.
    reach = 1 - 5 / len(found) >= LEVELS
    last = int(np.flatnonzero(reach)[-1])
    own = np.where(reach, own, max(own[last] / prior[last], 0.5) * prior)
    weight = (len(found) / horizon) / (len(found) / horizon + PRIOR_ROWS)
    mixed = np.maximum.accumulate(weight * own + (1 - weight) * prior)
    mixed[0] = 0.0
    return np.asarray(mixed)
