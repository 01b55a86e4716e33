"""Compute the forecasts and scenarios of past days as the product would have made them on each day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Panel
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.scenarios import (
    MAX_DAYS,
    ScenarioLibrary,
    build_library,
    quantiles_on_every_day,
    spread_of,
)
from coincast_training.executors import Executor
from coincast_training.trainers.ensemble.backtest import Walk
from coincast_training.trainers.ensemble.dataset import CoinTable
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.progress import Progress

Floats = NDArray[np.float64]
ANCHORS = (1, 3, 7, 14)
HORIZONS = tuple(range(1, MAX_DAYS + 1))
# The product refuses coins with fewer closed days; the evaluation leaves them out.
MIN_OWN_DAYS = 120


@dataclass(frozen=True, eq=False)
class MarketDays:
    """Candles of n coins on T consecutive days.

    Attributes:
        days: datetime64[D], (T,).
        coin_ids: The coins, (n,).
        log_close: Logs of the closes, (T, n), NaN on days without a candle.
        log_high: Logs of the highs, (T, n); at least the log of the close.
        log_low: Logs of the lows, (T, n); at most the log of the close.
    """

    days: NDArray[np.datetime64]
    coin_ids: tuple[str, ...]
    log_close: Floats
    log_high: Floats
    log_low: Floats

    @classmethod
    def of(cls, panel: Panel) -> MarketDays:
        """Align the candles of a panel on one calendar."""
        first = min(c.dates[0] for c in panel.values())
        last = max(c.dates[-1] for c in panel.values())
        days = np.arange(first, last + np.timedelta64(1, "D"))
        close, high, low = (np.full((len(days), len(panel)), np.nan) for _ in range(3))
        for i, candles in enumerate(panel.values()):
            begin = int((candles.dates[0] - first).astype(np.int64))
            rows = slice(begin, begin + len(candles))
            close[rows, i] = np.log(candles.close)
            with np.errstate(invalid="ignore", divide="ignore"):
                top, bottom = np.log(candles.high), np.log(candles.low)
            high[rows, i] = np.fmax(top, close[rows, i])
            low[rows, i] = np.fmin(bottom, close[rows, i])
        return cls(days, tuple(panel), close, high, low)

    def row(self, day: np.datetime64) -> int:
        """Return the position of a day."""
        return int((day - self.days[0]).astype(np.int64))

    def returns_ahead(self, horizon: int) -> Floats:
        """Return the log return over the next `horizon` days, (T, n), NaN if they have not ended."""
        out = np.full_like(self.log_close, np.nan)
        out[:-horizon] = self.log_close[horizon:] - self.log_close[:-horizon]
        return out

    def own_days(self, row: int) -> NDArray[np.int64]:
        """Return the number of closes of each coin up to a day, (n,)."""
        return np.asarray(np.isfinite(self.log_close[: row + 1]).sum(axis=0))


@dataclass(frozen=True, eq=False)
class WalkedForecasts:
    """Out-of-sample log-return quantiles of the ensemble: (T, n, A, Q) on the days and coins of `market`."""

    market: MarketDays
    quantiles: NDArray[np.float32]

    def on(self, row: int) -> Forecasts:
        """Return the forecasts that the product would serve on a day, at every horizon.

        Horizons between the anchors are interpolated as in serving: the log of the daily scale and the shape
        are both linear in the log of the horizon.
        """
        table = self.quantiles[row].astype(np.float64)
        known = np.isfinite(table).all(axis=(1, 2)) & (self.market.own_days(row) >= MIN_OWN_DAYS)
        at = np.flatnonzero(known)
        quantiles = quantiles_on_every_day(ANCHORS, table[at], PROBABILITIES, MAX_DAYS)
        as_of: dt.date = self.market.days[row].astype(object)
        plain = np.full((len(at), len(HORIZONS)), np.nan)
        return Forecasts(
            coin_ids=tuple(self.market.coin_ids[i] for i in at),
            as_of=(as_of,) * len(at),
            last_price=np.exp(self.market.log_close[row, at]),
            horizons=HORIZONS,
            probabilities=PROBABILITIES,
            log_return_quantiles=quantiles,
            volatility=plain,
            trailing_volatility=plain,
            rise_of_volatility=plain,
        )

    def library(self, panel: Panel) -> ScenarioLibrary:
        """Build the scenario library of all origins, with the same function as training.

        Raises:
            ValueError: The history is too short for a library.
        """
        row, coin = np.nonzero(np.isfinite(self.quantiles).all(axis=(2, 3)))
        widths = spread_of(self.quantiles[row, coin].astype(np.float64), PROBABILITIES)
        made = build_library(
            panel,
            [self.market.coin_ids[i] for i in coin],
            self.market.days[row],
            ANCHORS,
            {anchor: widths[:, j] for j, anchor in enumerate(ANCHORS)},
            keep_origins=None,
        )
        if made is None:
            raise ValueError("the candles are too short for a scenario library; give more days")
        return made


def walk_forecasts(
    panel: Panel,
    reference: Panel,
    recipe: Mapping[str, Any],
    seed: int,
    *,
    executor: Executor,
    progress: Progress,
) -> WalkedForecasts:
    """Walk the ensemble forward over all days of a panel.

    Members are refitted every `fold_days` of the recipe, on targets that had ended by then. Pool weights and
    calibration also use only data up to the start of each fold. The training pipeline does the same walk for
    the record of a version and for its scenario library.

    Args:
        panel: Candles of the coins to forecast.
        reference: Candles of reference coins that are not forecast.
        recipe: Training parameters of the ensemble.
        seed: Seed of the fits.
        executor: Runs the fits.
        progress: Called with the finished fraction and a text.

    Raises:
        ValueError: The panel is too short for the model.
    """
    plain = {**recipe, "anchors": list(ANCHORS), "lstm": {"use": "off"}}
    chosen = EnsembleParams.of(plain)
    source = CoinTable(panel, {**reference, **panel})
    if not source.coins:
        raise ValueError("no coin has enough days for its features; 60 are needed")
    last = max(int(coin.days[-1]) for coin in source.coins)
    walk = Walk(source.coins, chosen, seed, {})
    walk.fit_all(source, last, executor, progress)
    market = MarketDays.of(panel)
    table = np.full(
        (len(market.days), len(market.coin_ids), len(ANCHORS), len(PROBABILITIES)), np.nan, dtype=np.float32
    )
    column = np.array([market.coin_ids.index(coin.coin_id) for coin in source.coins])
    first = int(market.days[0].astype(np.int64))
    for j, horizon in enumerate(ANCHORS):
        for block, _, quantiles in walk.record(horizon, last):
            table[block.day - first, column[block.coin], j] = quantiles
    if not np.isfinite(table).any():
        raise ValueError("too few days with a known outcome; give more days or more coins")
    return WalkedForecasts(market, table)


def present_on(market: MarketDays, row: int, coins: Sequence[int], days_back: int) -> bool:
    """Return whether all `coins` have a close on a day and on each of the `days_back` days before it."""
    return row >= days_back and bool(np.isfinite(market.log_close[row - days_back : row + 1, coins]).all())
