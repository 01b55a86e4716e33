"""Classical forecasts of scale: HAR, GARCH and exponential range volatility.

Corsi 2009 (HAR), Bollerslev 1987 (GARCH with Student t). A scale is the log of the standard deviation of the
log return over a horizon. All functions depend on past days only, and fitting and serving use the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.volatility import Regimes, daily_variance, squared_returns, volatility_regimes

BASE = "ewma_94"
SLOW = "ewma_97"
OWN = ("har_1", "har_3", "har_7", "har_14", "har_30", "har_90", "har_180", "ewma_85", "ewma_97")
MARKET = ("market_volatility_7", "market_volatility_30", "leader_volatility_7", "leader_volatility_30")
SHAPE = ("zret_1", "leverage_1", "leverage_7", "zret_7", "downside_share_30", "leader_return_1")
ACTIVITY = ("volume_surprise_1_30", "volatility_of_volatility_30")
LINEAR = (*OWN, *MARKET, *SHAPE, *ACTIVITY)
SHORT = ("har_1", "har_7", "har_30")
GARCH_DAYS = 250
LONG_RUN_DAYS = 600
LEAST_VARIANCE = 1e-12
CLIP = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The inputs of the scales, one row per day.

    features (n, F); base and slow (n,), log daily volatilities; squared (n,), squared returns; regime and
    weekday (n,), Monday 0.
    """

    features: Floats
    base: Floats
    slow: Floats
    squared: Floats
    regime: npt.NDArray[np.int64]
    weekday: npt.NDArray[np.int64]


def inputs_of(
    features: Floats, candles: Candles, spec: FeatureSpec, regimes: Regimes | None = None
) -> Inputs:
    """Return the inputs of the last n days of a coin.

    Args:
        features: Features of the last n days, (n, F).
        candles: The coin's candles without calendar gaps, at least n.
        spec: The F features.
        regimes: Volatility regimes of the n days; None computes them.
    """
    rows = slice(len(candles) - len(features), len(candles))
    names = {name: i for i, name in enumerate(spec.names)}
    if regimes is None:
        regimes = volatility_regimes(daily_variance(candles), len(features))
    weekday = (candles.dates.astype(np.int64) + 3) % 7
    base = features[:, names[BASE]]
    slow = features[:, names[SLOW]]
    return Inputs(
        features=features,
        base=base,
        slow=np.where(np.isfinite(slow), slow, base),
        squared=squared_returns(candles),
        regime=regimes,
        weekday=weekday[rows],
    )


def joined(coins: Sequence[Inputs]) -> Inputs:
    """Concatenate the rows of several coins; the `squared` of the result cannot be used for GARCH."""
    if len(coins) == 1:
        return coins[0]
    return Inputs(*(np.concatenate([getattr(c, name) for c in coins]) for name in Inputs.__slots__))


def spans_weekend(weekday: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return 1 where the next day is a Saturday or a Sunday, else 0: (n,)."""
    return np.asarray((weekday == 4) | (weekday == 5), dtype=np.int64)


def linear_design(inputs: Inputs, spec: FeatureSpec, names: tuple[str, ...] = LINEAR) -> Floats:
    """Return the columns (n, K) of a linear scale.

    Log volatilities enter as distances from the base; a missing one is taken to equal the base. Other
    features enter without change; a missing one is zero. The weekday of the origin is included, since
    weekends are calm.

    Args:
        inputs: The inputs of n rows.
        spec: The features of the inputs.
        names: Features to use.
    """
    at = {name: i for i, name in enumerate(spec.names)}
    columns = [np.nan_to_num(inputs.base, nan=0.0)]
    for name in names:
        column = inputs.features[:, at[name]]
        if name in OWN or name in MARKET or name in SHORT:
            column = column - inputs.base
        columns.append(np.nan_to_num(column, nan=0.0, posinf=0.0, neginf=0.0))
    if names is LINEAR:
        columns.extend((inputs.weekday == day).astype(np.float64) for day in range(6))
    return np.column_stack(columns)


@dataclass(frozen=True, slots=True, eq=False)
class LinearScale:
    """A ridge regression on standardised, clipped columns; its output is added to the base."""

    centre: Floats
    spread: Floats
    weights: Floats
    intercept: float

    def forecast(self, design: Floats) -> Floats:
        """Return the correction to the base, (n,), for a design (n, K)."""
        z = np.clip((design - self.centre) / self.spread, -CLIP, CLIP)
        return np.asarray(self.intercept + z @ self.weights)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {
            "centre": self.centre.tolist(),
            "spread": self.spread.tolist(),
            "weights": self.weights.tolist(),
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Parse the output of `to_json`."""
        return cls(
            centre=np.asarray(plain["centre"], dtype=np.float64),
            spread=np.asarray(plain["spread"], dtype=np.float64),
            weights=np.asarray(plain["weights"], dtype=np.float64),
            intercept=float(plain["intercept"]),
        )


@dataclass(frozen=True, slots=True)
class Garch:
    """GARCH(1,1) shared by all coins; the long-run variance of each coin is shrunk towards that of the panel.

    long_run is the panel's daily variance; it has the weight of prior_days days of the coin's own.
    """

    alpha: float
    beta: float
    long_run: float
    prior_days: float = 120.0

    def to_json(self) -> dict[str, float]:
        """Return plain numbers."""
        return asdict(self)

    def log_scales(self, squared: Floats, horizons: tuple[int, ...], rows: int) -> Floats:
        """Return the log standard deviation of the return over each horizon for the last days, (rows, H).

        Args:
            squared: Squared daily returns of the coin, (n,); the first may be NaN.
            horizons: H horizons in days.
            rows: Number of days to return, the newest ones.
        """
        age = np.arange(1, len(squared) + 1)[len(squared) - rows :]
        # No row depends on earlier days, and serving needs only the last row, so a cut saves time.
        squared = squared[-(rows + LONG_RUN_DAYS) :]
        known = np.isfinite(squared)
        counted = _trailing_sum(known.astype(np.float64))
        total = _trailing_sum(np.where(known, squared, 0.0))
        own = (total + self.prior_days * self.long_run) / (counted + self.prior_days)
        decay = self.beta ** np.arange(GARCH_DAYS)
        shocks = np.convolve(np.where(known, squared, self.long_run), decay)[: len(squared)]
        wanted = slice(len(squared) - rows, None)
        shocks, own = shocks[wanted], own[wanted]
        persistence = self.alpha + self.beta
        left = self.beta ** np.minimum(age, GARCH_DAYS)
        level = own * ((1 - persistence) * (1 - left) / (1 - self.beta) + left)
        tomorrow = level + self.alpha * shocks
        out = np.empty((rows, len(horizons)))
        for j, h in enumerate(horizons):
            stay = (1 - persistence**h) / (h * (1 - persistence))
            # The variance of a constant price is zero; the minimum keeps its logarithm finite.
            variance = np.maximum(own + (tomorrow - own) * stay, LEAST_VARIANCE)
            out[:, j] = 0.5 * np.log(h * variance)
        return out


def _trailing_sum(x: Floats) -> Floats:
    """Return the sum of the last LONG_RUN_DAYS rows, (n,)."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    start = np.maximum(np.arange(1, len(x) + 1) - LONG_RUN_DAYS, 0)
    return np.asarray(total[1:] - total[start])
