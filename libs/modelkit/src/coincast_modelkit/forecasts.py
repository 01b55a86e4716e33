"""The output of a model: for each coin and horizon, a distribution as quantiles of the log return."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from coincast_modelkit.candles import Floats

MAX_HORIZON_DAYS = 30
# Dense enough in the middle for the probability of a rise, and wide enough for a 99.9 % interval.
PROBABILITIES: Floats = np.array(
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075]
    + [round(0.1 + 0.025 * i, 3) for i in range(33)]
    + [0.925, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995]
)
# Weight of each quantile in a mean: from halfway to its left neighbour to halfway to its right one. The two
# outermost extend to 0 and 1.
MASSES: Floats = np.diff(np.concatenate([[0.0], (PROBABILITIES[1:] + PROBABILITIES[:-1]) / 2, [1.0]]))


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """Forecasts of n coins at H horizons with Q quantile probabilities; a coin that failed has NaN rows.

    coin_ids and as_of (n,); last_price (n,); horizons (H,) days; probabilities (Q,) strictly increasing in
    (0, 1); log_return_quantiles (n, H, Q) of log(close on day as_of + h / last_price), non-decreasing in Q.
    volatility (n, H): forecast standard deviation of a daily log return over the horizon; multiply it by the
    square root of 365 to annualise it. trailing_volatility (n, H): the realised value over the last max(7, h)
    days. rise_of_volatility (n, H): probability that volatility over the horizon exceeds the trailing one.
    """

    coin_ids: tuple[str, ...]
    as_of: tuple[dt.date, ...]
    last_price: Floats
    horizons: tuple[int, ...]
    probabilities: Floats
    log_return_quantiles: Floats
    volatility: Floats
    trailing_volatility: Floats
    rise_of_volatility: Floats

    def __len__(self) -> int:
        return len(self.coin_ids)

    def usable(self) -> np.ndarray:
        """Return which coins have a complete distribution: booleans (n,)."""
        return np.asarray(
            np.isfinite(self.log_return_quantiles).all(axis=(1, 2)) & np.isfinite(self.last_price)
        )

    def quantile_log_returns(self, p: Sequence[float] | Floats) -> Floats:
        """Return quantiles of the log return at probabilities p in (0, 1): (n, H, len(p)).

        They are linear in the normal score between the stored probabilities, and extrapolated linearly beyond
        them, so that the tails continue to widen.
        """
        left, share = _between(self.probabilities.tobytes(), tuple(map(float, p)))
        q = self.log_return_quantiles
        lower, upper = q[..., left], q[..., left + 1]
        return np.where(share == 0, lower, lower + share * (upper - lower))

    def quantile_prices(self, p: Sequence[float] | Floats) -> Floats:
        """Return quantiles of the price at probabilities p in (0, 1): (n, H, len(p))."""
        return np.asarray(self.last_price[:, None, None] * np.exp(self.quantile_log_returns(p)))

    def interval_prices(self, level_percent: float) -> tuple[Floats, Floats]:
        """Return the lower and upper price of the central interval with a given coverage, each (n, H).

        Args:
            level_percent: Nominal coverage, between 0 and 100.

        Raises:
            ValueError: The level is out of range.
        """
        if not 0 < level_percent < 100:
            raise ValueError(f"an interval level must lie between 0 and 100 percent, got {level_percent}")
        half = level_percent / 200
        prices = self.quantile_prices([0.5 - half, 0.5 + half])
        return prices[..., 0], prices[..., 1]

    def median_prices(self) -> Floats:
        """Return the point forecast: the median price, (n, H)."""
        return self.quantile_prices([0.5])[..., 0]

    def probability_of_rise(self) -> Floats:
        """Return the chance that the close is above last_price: (n, H), NaN for a coin that failed."""
        q, p = self.log_return_quantiles, self.probabilities
        below = np.sum(q < 0, axis=-1)
        left = np.clip(below - 1, 0, len(p) - 2)
        lower = np.take_along_axis(q, left[..., None], -1)[..., 0]
        upper = np.take_along_axis(q, left[..., None] + 1, -1)[..., 0]
        gap = upper - lower
        share = np.clip(np.divide(-lower, gap, out=np.full_like(gap, 0.5), where=gap > 0), 0.0, 1.0)
        return np.where(np.isfinite(lower), 1.0 - (p[left] + share * (p[left + 1] - p[left])), np.nan)

    def coins(self, index: Sequence[int]) -> Self:
        """Return the forecasts of some of the coins, by position."""
        rows = list(index)
        return type(self)(
            coin_ids=tuple(self.coin_ids[i] for i in rows),
            as_of=tuple(self.as_of[i] for i in rows),
            last_price=self.last_price[rows],
            horizons=self.horizons,
            probabilities=self.probabilities,
            log_return_quantiles=self.log_return_quantiles[rows],
            volatility=self.volatility[rows],
            trailing_volatility=self.trailing_volatility[rows],
            rise_of_volatility=self.rise_of_volatility[rows],
        )


def standard_deviations(quantiles: Floats) -> Floats:
    """Return the standard deviation (...) of distributions given as quantiles (..., Q) at PROBABILITIES.

    The far tail is estimated from few outcomes and would dominate the result for a coin that jumped once, so
    quantiles beyond twice the 95 % interval are clipped to that bound.
    """
    low, high = (int(np.argmin(np.abs(PROBABILITIES - p))) for p in (0.025, 0.975))
    bounded = np.clip(quantiles, 2 * quantiles[..., [low]], 2 * quantiles[..., [high]])
    mean = bounded @ MASSES
    return np.asarray(np.sqrt(np.maximum((bounded**2) @ MASSES - mean**2, 0.0)))


def expected_sizes(quantiles: Floats) -> Floats:
    """Return the expected absolute value (...) of distributions given as quantiles (..., Q)."""
    return np.asarray(np.abs(quantiles) @ MASSES)


@lru_cache(maxsize=256)
def _between(probabilities: bytes, wanted: tuple[float, ...]) -> tuple[np.ndarray, Floats]:
    """Locate each requested probability among the stored ones, which are given as bytes of float64.

    Return the index of each one's left neighbour, and the share of the way to the right neighbour in the
    normal score. The result is cached, since callers request the same few probabilities repeatedly.
    """
    from scipy.special import ndtri  # noqa: PLC0415 - scipy is slow to import, and only readers need it

    if not all(0 < p < 1 for p in wanted):
        raise ValueError(f"probabilities must lie between 0 and 1, got {list(wanted)}")
    known, at = ndtri(np.frombuffer(probabilities)), ndtri(np.array(wanted))
    left = np.clip(np.searchsorted(known, at, side="right") - 1, 0, len(known) - 2)
    return left, (at - known[left]) / (known[left + 1] - known[left])


def checked_horizons(horizons: Sequence[int], limit: int = MAX_HORIZON_DAYS) -> tuple[int, ...]:
    """Return the horizons as a tuple.

    Raises:
        ValueError: A horizon is out of range, or none is given.
    """
    wanted = tuple(int(h) for h in horizons)
    if not wanted or min(wanted) < 1 or max(wanted) > limit:
        raise ValueError(f"horizons must be 1 to {limit} days, got {list(wanted)}")
    return wanted
