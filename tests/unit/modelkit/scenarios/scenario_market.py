"""A small market with a forecaster that looks back only, for the tests of joint scenarios."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from coincast_modelkit.candles import Candles
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.scenarios import ScenarioLibrary, build_library

START = np.datetime64("2021-01-01", "D")
ANCHORS = (1, 3, 7, 14)
HORIZONS = tuple(range(1, 15))
COINS = ("bitcoin", "ethereum", "solana", "pepe")


def market(days: int = 700, begins: Sequence[int] = (0, 0, 100, 400), seed: int = 3) -> dict[str, Candles]:
    """Coins that share a common shock of changing volatility; later ones begin later."""
    rng = np.random.default_rng(seed)
    volatility = 0.03 * np.exp(0.4 * np.sin(np.arange(days) / 40))
    common = rng.standard_t(5, days) * volatility
    found = {}
    for coin, begin in zip(COINS, begins, strict=True):
        returns = 0.8 * common + 0.6 * volatility * rng.standard_normal(days)
        close = 100 * np.exp(np.cumsum(returns))
        opening = np.concatenate([[100.0], close[:-1]])
        wick = 0.5 * volatility * rng.random((2, days))
        high = np.maximum(opening, close) * np.exp(wick[0])
        low = np.minimum(opening, close) * np.exp(-wick[1])
        rows = slice(begin, days)
        found[coin] = Candles.of(
            coin,
            START + np.arange(days)[rows],
            close[rows],
            open=opening[rows],
            high=high[rows],
            low=low[rows],
        )
    return found


def scale_on(candles: Candles, row: int) -> float:
    """Daily volatility as known at the close of a row: the last 30 days' standard deviation."""
    logs = np.log(candles.close[max(0, row - 30) : row + 1])
    return float(np.diff(logs).std())


def library_of(panel: Mapping[str, Candles], *, keep_origins: int | None = None) -> ScenarioLibrary:
    """The library of a panel, with scales from the 30 days before each origin."""
    coins, days, scales = [], [], []
    for coin, candles in panel.items():
        for row in range(40, len(candles)):
            coins.append(coin)
            days.append(candles.dates[row])
            scales.append(scale_on(candles, row))
    daily = np.array(scales)
    made = build_library(
        panel,
        coins,
        np.array(days),
        ANCHORS,
        {h: daily * np.sqrt(h) for h in ANCHORS},
        keep_origins=keep_origins,
    )
    assert made is not None
    return made


def forecasts_on(panel: Mapping[str, Candles], coins: Sequence[str], day: np.datetime64) -> Forecasts:
    """Skewed distributions from what was known at the close of a day."""
    known = {coin: panel[coin].until(day) for coin in coins}
    scales = np.array([scale_on(c, len(c) - 1) for c in known.values()])
    shape = np.where(PROBABILITIES < 0.5, 1.3, 1.0) * ndtri(PROBABILITIES)
    roots = np.sqrt(np.array(HORIZONS, dtype=np.float64))
    quantiles = scales[:, None, None] * roots[None, :, None] * shape
    flat = np.full((len(coins), len(HORIZONS)), 0.03)
    as_of: dt.date = day.astype(object)
    return Forecasts(
        coin_ids=tuple(coins),
        as_of=(as_of,) * len(coins),
        last_price=np.array([c.last_price for c in known.values()]),
        horizons=HORIZONS,
        probabilities=PROBABILITIES,
        log_return_quantiles=quantiles,
        volatility=flat,
        trailing_volatility=flat,
        rise_of_volatility=flat,
    )
