"""The training table of all coins: one row with features and targets for each coin and origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from coincast_modelkit.candles import Candles, Dates, Floats, Panel
from coincast_modelkit.features import REFERENCE_COINS, FeatureSpec, Market, batch, market_of, spec_of
from coincast_modelkit.targets import log_returns_ahead, log_volatility_ahead
from coincast_modelkit.volatility import Regimes, daily_variance, volatility_regimes

# With fewer reference coins, the market features would not describe the market.
MIN_REFERENCE_COINS = 4
_OF_THE_MARKET = ("market_", "relative_return_", "volatility_against_market_")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """N rows, sorted by coin and day.

    Attributes:
        coin_ids: The coins.
        spec: The F features.
        horizons: The H horizons in days.
        coin: Position of the coin in `coin_ids`, (N,).
        origins: Day of each row, (N,).
        prices: Close of the day, (N,).
        regime: Volatility regime of the day, (N,).
        features: Features, (N, F).
        returns: Log return over each horizon, (N, H); NaN if it has not ended.
        log_volatility: Log volatility per day over each horizon, (N, H); NaN if it has not ended.
    """

    coin_ids: tuple[str, ...]
    spec: FeatureSpec
    horizons: tuple[int, ...]
    coin: np.ndarray
    origins: Dates
    prices: Floats
    regime: Regimes
    features: Floats
    returns: Floats
    log_volatility: Floats

    def __len__(self) -> int:
        return len(self.origins)

    def column(self, horizon: int) -> int:
        """Return the column of a horizon among the targets."""
        return self.horizons.index(horizon)

    def positions(self, other: Rows, at: np.ndarray) -> np.ndarray:
        """Return the positions of the coins and days of the rows `at` of another table.

        Raises:
            ValueError: One of them is not in this table.
        """
        names = np.asarray(self.coin_ids)
        coin = np.searchsorted(names, np.asarray(other.coin_ids)[other.coin[at]])
        found = np.searchsorted(_keys(self.coin, self.origins), _keys(coin, other.origins[at]))
        found = np.minimum(found, len(self) - 1)
        same = np.asarray(other.coin_ids)[other.coin[at]] == names[self.coin[found]]
        if not np.all(same & (other.origins[at] == self.origins[found])):
            raise ValueError("the table lacks a coin or a day of the other one")
        return np.asarray(found)


def _keys(coin: np.ndarray, origins: Dates) -> np.ndarray:
    """Return numbers in the order of coin and day."""
    return np.asarray(coin * 1_000_000 + origins.astype(np.int64))


class RowSource(Protocol):
    """A source of a table, which may be built on first use."""

    @property
    def rows(self) -> Rows:
        """Return the table."""
        ...


@dataclass(frozen=True, eq=False)
class Table:
    """A table that is built on first use.

    Only the candles are sent to workers: the rows are twenty times as large, and quickly built again.
    """

    panel: Panel
    reference: Panel
    spec: FeatureSpec
    horizons: tuple[int, ...]

    @cached_property
    def rows(self) -> Rows:
        """Return the table.

        Raises:
            ValueError: No coin has a row.
        """
        return build_rows(self.panel, self.reference, self.spec, self.horizons)

    def __reduce__(self) -> tuple[Any, ...]:
        return Table, (self.panel, self.reference, self.spec, self.horizons)


def choose_spec(reference: Panel) -> FeatureSpec:
    """Return all features, or all but the market features if too few reference coins are available."""
    spec = spec_of()
    if sum(coin in reference for coin in REFERENCE_COINS) >= MIN_REFERENCE_COINS:
        return spec
    return FeatureSpec(tuple(n for n in spec.names if not n.startswith(_OF_THE_MARKET)))


def build_rows(panel: Panel, reference: Panel, spec: FeatureSpec, horizons: Sequence[int]) -> Rows:
    """Build the table of a panel; leave out rows before the third day of volatility of a coin.

    Raises:
        ValueError: No coin has a row.
    """
    market = market_of(reference)
    coin_ids = tuple(sorted(panel))
    parts = [_of_coin(i, panel[c].on_every_day(), market, spec, horizons) for i, c in enumerate(coin_ids)]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    known = np.isfinite(columns[4][:, spec.names.index("har_3")])
    if not known.any():
        raise ValueError("no coin has enough history for a single training row")
    return Rows(coin_ids, spec, tuple(horizons), *(column[known] for column in columns))


def _of_coin(
    position: int, candles: Candles, market: Market, spec: FeatureSpec, horizons: Sequence[int]
) -> tuple[np.ndarray, ...]:
    return (
        np.full(len(candles), position),
        candles.dates,
        candles.close,
        volatility_regimes(daily_variance(candles)),
        batch(candles, market, spec),
        log_returns_ahead(candles, horizons),
        log_volatility_ahead(candles, horizons),
    )
