"""The training rows of the ensemble: every day of every coin, with its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import DEFAULT_SPEC, FeatureSpec, Market, batch
from coincast_modelkit.models.scales import Inputs, inputs_of
from coincast_modelkit.volatility import daily_variance

Floats = NDArray[np.float64]
Days = NDArray[np.int64]
FIRST_ROW = 45


@dataclass(frozen=True, slots=True, eq=False)
class CoinRows:
    """The rows of one coin: days since 1970 (n,), inputs, log closes (n,) and daily variances (n,)."""

    coin_id: str
    days: Days
    inputs: Inputs
    log_close: Floats
    variance: Floats

    def cut(self, first: int, after: int) -> tuple[Inputs, slice]:
        """Return the inputs and positions of the rows from day `first` up to day `after`, excluded.

        `squared` also has all earlier rows, which the GARCH recursion needs.
        """
        start, stop = (int(i) for i in np.searchsorted(self.days, [first, after]))
        start = min(max(start, FIRST_ROW), len(self.days))
        stop = max(stop, start)
        i, rows = self.inputs, slice(start, stop)
        return (
            Inputs(
                features=i.features[rows],
                base=i.base[rows],
                slow=i.slow[rows],
                squared=i.squared[:stop],
                regime=i.regime[rows],
                weekday=i.weekday[rows],
            ),
            rows,
        )

    def returns_ahead(self, horizon: int) -> Floats:
        """Return the log return over the next `horizon` days, (n,); NaN if they have not ended."""
        out = np.full(len(self.days), np.nan)
        out[:-horizon] = self.log_close[horizon:] - self.log_close[:-horizon]
        return out

    def log_volatility_ahead(self, horizon: int) -> Floats:
        """Return half the log of the total variance of the next `horizon` days, (n,); NaN if unknown."""
        out = np.full(len(self.days), np.nan)
        if len(self.days) > horizon:
            sums = np.convolve(self.variance, np.ones(horizon), mode="valid")
            out[:-horizon] = 0.5 * np.log(sums[1:])
        return out


@dataclass(frozen=True, eq=False)
class CoinTable:
    """The rows of a panel, built on first use; only the candles are sent to workers."""

    panel: Panel
    reference: Panel

    @cached_property
    def coins(self) -> tuple[CoinRows, ...]:
        """Return the rows of each coin, in the order of the panel."""
        return rows_of(self.panel, self.reference, DEFAULT_SPEC)

    def __reduce__(self) -> tuple[Any, ...]:
        return CoinTable, (self.panel, self.reference)


def rows_of(panel: Panel, reference: Panel, spec: FeatureSpec) -> tuple[CoinRows, ...]:
    """Return the rows of every coin with more than FIRST_ROW days, in the order of the panel.

    This is the exact limit: a coin with fewer days has no row in any fold.
    """
    market = Market.of(reference)
    return tuple(
        _coin_rows(candles.on_every_day(), market, spec)
        for candles in panel.values()
        if len(candles) > FIRST_ROW
    )


def _coin_rows(candles: Candles, market: Market, spec: FeatureSpec) -> CoinRows:
    features = batch(candles, market, spec)
    return CoinRows(
        coin_id=candles.coin_id,
        days=candles.dates.astype(np.int64),
        inputs=inputs_of(features, candles, spec),
        log_close=np.log(candles.close),
        variance=daily_variance(candles),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of several coins between two days at one horizon.

    `coins` has the inputs of each coin; the flat (n,) arrays are in the same order.
    """

    coins: tuple[Inputs, ...]
    coin: NDArray[np.int64]
    day: Days
    regime: NDArray[np.int64]
    log_close: Floats
    returns: Floats
    log_volatility: Floats


def block_of(coins: Sequence[CoinRows], first: int, after: int, horizon: int) -> Block:
    """Return the rows from day `first` up to day `after`, excluded; an unknown outcome is NaN."""
    cuts = [coin.cut(first, after) for coin in coins]
    parts = [(i, coin, rows) for i, (coin, (_, rows)) in enumerate(zip(coins, cuts, strict=True))]
    return Block(
        coins=tuple(inputs for inputs, _ in cuts),
        coin=np.concatenate([np.full(rows.stop - rows.start, i, dtype=np.int64) for i, _, rows in parts]),
        day=np.concatenate([coin.days[rows] for _, coin, rows in parts]),
        regime=np.concatenate([inputs.regime for inputs, _ in cuts]),
        log_close=np.concatenate([coin.log_close[rows] for _, coin, rows in parts]),
        returns=np.concatenate([coin.returns_ahead(horizon)[rows] for _, coin, rows in parts]),
        log_volatility=np.concatenate([coin.log_volatility_ahead(horizon)[rows] for _, coin, rows in parts]),
    )


def fold_days(coins: Sequence[CoinRows], cut: int, every_days: int) -> list[int]:
    """Return the refit days of the walk in increasing order, `every_days` apart and counted back from `cut`.

    `cut` itself is not included.
    """
    first = min(int(c.days[0]) for c in coins)
    return list(reversed(range(cut - every_days, first, -every_days)))
