"""The series that feature definitions share, each computed once a coin."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.market import Market
from coincast_modelkit.volatility import daily_variance, garman_klass_variance, parkinson_variance


class Context:
    """One coin's arrays (n,) and the market's on the same days, with what several features need kept."""

    def __init__(self, candles: Candles, market: Market) -> None:
        self.candles = candles
        self.market = market
        self._kept: dict[object, Floats] = {}

    def keep(self, key: object, compute: Callable[[], Floats]) -> Floats:
        """Compute a shared series once."""
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    @cached_property
    def log_close(self) -> Floats:
        """Logarithm of the close."""
        return np.log(self.candles.close)

    @cached_property
    def returns(self) -> Floats:
        """Daily log returns, the first NaN."""
        return k.difference(self.log_close, 1)

    @cached_property
    def squared(self) -> Floats:
        """Squared daily log returns."""
        return self.returns**2

    @cached_property
    def parkinson(self) -> Floats:
        """Parkinson variance of each day, NaN without high and low."""
        return parkinson_variance(self.candles)

    @cached_property
    def garman_klass(self) -> Floats:
        """Garman-Klass variance of each day, NaN without open, high and low."""
        return garman_klass_variance(self.candles)

    @cached_property
    def variance(self) -> Floats:
        """The best daily variance at hand: from ranges where there are any, else squared returns."""
        return daily_variance(self.candles)

    def log_variance_mean(self, window: int) -> Floats:
        """Log of the mean daily variance over a window."""
        return self.keep(("log_variance", window), lambda: k.log_of(k.rolling_mean(self.variance, window)))

    @cached_property
    def scale(self) -> Floats:
        """Daily volatility that other features are measured in: root of the exponential mean variance (half-
        life 10).
        """
        return np.sqrt(k.ewm_mean(self.variance, 0.5 ** (1 / 10), min_rows=10))

    @cached_property
    def log_volume(self) -> Floats:
        """Logarithm of the day's volume, NaN where absent or zero."""
        return k.log_of(self.candles.volume)
