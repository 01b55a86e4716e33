"""The definition of a feature, the cached series that formulas share, and the computation of features."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features.market import Market, MarketOrPanel, market_of
from coincast_modelkit.volatility import daily_variance, garman_klass_variance, parkinson_variance

if TYPE_CHECKING:
    from coincast_modelkit.features.spec import FeatureSpec


class Context:
    """One coin's candles (n,), the market on the same days, and a cache of series that features share."""

    def __init__(self, candles: Candles, market: Market) -> None:
        self.candles = candles
        self.market = market
        self._cache: dict[object, Floats] = {}

    def keep(self, key: object, compute: Callable[[], Floats]) -> Floats:
        """Return the series with this key; compute it on the first call."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    @cached_property
    def log_close(self) -> Floats:
        """Return the logarithm of the close."""
        return np.log(self.candles.close)

    @cached_property
    def returns(self) -> Floats:
        """Return daily log returns; the first is NaN."""
        return k.difference(self.log_close, 1)

    @cached_property
    def squared(self) -> Floats:
        """Return squared daily log returns."""
        return self.returns**2

    @cached_property
    def parkinson(self) -> Floats:
        """Return the Parkinson variance of each day, NaN without high and low."""
        return parkinson_variance(self.candles)

    @cached_property
    def garman_klass(self) -> Floats:
        """Return the Garman-Klass variance of each day, NaN without open, high and low."""
        return garman_klass_variance(self.candles)

    @cached_property
    def variance(self) -> Floats:
        """Return the daily variance: from the day's range if there is one, else the squared return."""
        return daily_variance(self.candles)

    def log_variance_mean(self, window: int) -> Floats:
        """Return the log of the mean daily variance over a window of days."""
        return self.keep(("log_variance", window), lambda: k.log_of(k.rolling_mean(self.variance, window)))

    @cached_property
    def scale(self) -> Floats:
        """Return the daily volatility that serves as the unit of other features.

        It is the square root of the exponential mean variance with a half-life of 10 days.
        """
        return np.sqrt(k.ewm_mean(self.variance, 0.5 ** (1 / 10), min_rows=10))

    @cached_property
    def log_volume(self) -> Floats:
        """Return the logarithm of the day's volume, NaN where absent or zero."""
        return k.log_of(self.candles.volume)


Compute = Callable[[Context], Floats]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix.

    Attributes:
        name: Name of the column.
        group: Group of the feature.
        doc: One sentence for the documentation.
        warmup_days: Number of rows before the first value.
        compute: Computes the column (n,) from a context.
        memory_days: Number of rows that a value depends on, including its own.
        params: Parameters of the formula.
        formula: Version of the formula. Raise it whenever the same parameters give other numbers than before;
            it is part of the spec's hash.
    """

    name: str
    group: str
    doc: str
    warmup_days: int
    compute: Compute
    memory_days: int = 0
    params: dict[str, float] = field(default_factory=dict)
    formula: int = 1

    def __post_init__(self) -> None:
        if self.memory_days < self.warmup_days + 1:
            object.__setattr__(self, "memory_days", self.warmup_days + 1)

    def identity(self) -> str:
        """Return the text that enters the spec's hash: everything that determines the feature's values."""
        return json.dumps(
            [self.name, self.group, self.warmup_days, self.memory_days, self.params, self.formula],
            sort_keys=True,
        )


def batch(candles: Candles, reference: MarketOrPanel, spec: FeatureSpec) -> Floats:
    """Return the features of every day: (n, F), NaN during the warm-up or where an input is absent.

    Row i depends on candles[: i + 1] and the reference up to that day, at most the last spec.memory_days.

    Args:
        candles: n days without a calendar gap (`Candles.on_every_day`).
        reference: The market, or the candles of the reference coins.
        spec: The F features.
    """
    context = Context(candles, market_of(reference).on(candles.dates))
    out = np.empty((len(candles), len(spec.names)))
    for column, feature in enumerate(spec.definitions):
        out[:, column] = feature.compute(context)
        out[: feature.warmup_days, column] = np.nan
    return out


def latest(candles: Candles, reference: MarketOrPanel, spec: FeatureSpec) -> Floats:
    """Return the features of the last day, (F,): the last row of `batch`, computed from the last rows only.

    It needs spec.memory_days rows.

    Args:
        candles: Days without a calendar gap.
        reference: The market, or the candles of the reference coins.
        spec: The F features.

    Raises:
        ValueError: There are no candles.
    """
    if not len(candles):
        raise ValueError(f"{candles.coin_id}: no candles to compute features from")
    row: Floats = batch(candles.tail(spec.memory_days), reference, spec)[-1]
    return row
