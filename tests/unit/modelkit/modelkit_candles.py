"""Candles for the tests of modelkit: simulated with clustered volatility, seeded."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Candles

START = np.datetime64("2021-01-01", "D")


def simulated(coin_id: str, days: int, seed: int, *, offset: int = 0) -> Candles:
    """GARCH-like closes with ranges and volume that move with them."""
    rng = np.random.default_rng(seed)
    log_volatility = np.empty(days)
    level = np.log(0.03)
    for i in range(days):
        level += 0.06 * (np.log(0.03) - level) + 0.15 * rng.standard_normal()
        log_volatility[i] = level
    volatility = np.exp(log_volatility)
    close = 100 * np.exp(np.cumsum(volatility * rng.standard_normal(days)))
    opening = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(opening, close) * np.exp(0.5 * volatility * rng.random(days))
    low = np.minimum(opening, close) * np.exp(-0.5 * volatility * rng.random(days))
    volume = 1e8 * np.exp(0.5 * rng.standard_normal(days) + 10 * volatility)
    dates = START + np.arange(offset, offset + days)
    return Candles.of(coin_id, dates, close, open=opening, high=high, low=low, volume=volume)


def panel(days: int = 500) -> dict[str, Candles]:
    """Five coins that began on different days; four of them are references."""
    coins = ("bitcoin", "ethereum", "ripple", "cardano", "pepe")
    return {c: simulated(c, days - 40 * i, i, offset=40 * i) for i, c in enumerate(coins)}


def without(candles: Candles, *fields: str) -> Candles:
    """The same where a plan gives none of some fields."""
    kept = {f: getattr(candles, f) for f in ("open", "high", "low", "volume") if f not in fields}
    return Candles.of(candles.coin_id, candles.dates, candles.close, **kept)
