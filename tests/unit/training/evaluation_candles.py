"""Candles for the tests of the evaluation: a factor market with clustered volatility, seeded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from coincast_modelkit.candles import Candles

START = np.datetime64("2021-01-01", "D")
COINS = ("bitcoin", "ethereum", "pepe")
SMALL_TREES = {"rounds": 8, "residual_rounds": 5, "size_rounds": 5, "min_data_in_leaf": 40}
SMALL_NETWORK = {"units": 4, "attention": 4, "hidden": 8, "window_days": 12, "epochs": 2}


def coin(name: str, days: int, seed: int, offset: int = 0) -> Candles:
    rng = np.random.default_rng(seed)
    level, moves = np.log(0.03), np.empty(days)
    for i in range(days):
        level += 0.05 * (np.log(0.03) - level) + 0.15 * rng.standard_normal()
        moves[i] = np.exp(level) * rng.standard_t(5)
    close = 50 * np.exp(np.cumsum(moves))
    opened = np.concatenate([[50.0], close[:-1]])
    reach = np.abs(moves) + 0.01
    high = np.maximum(opened, close) * np.exp(0.4 * reach * rng.random(days))
    low = np.minimum(opened, close) * np.exp(-0.4 * reach * rng.random(days))
    volume = 1e8 * np.exp(0.3 * rng.standard_normal(days) + 8 * reach)
    return Candles.of(
        name, START + np.arange(offset, offset + days), close, open=opened, high=high, low=low, volume=volume
    )


def panel(days: int = 330) -> dict[str, Candles]:
    return {name: coin(name, days - 60 * i, 7 + i, offset=60 * i) for i, name in enumerate(COINS)}


def scrambled_after(candles: Candles, day: np.datetime64, seed: int = 99) -> Candles:
    """The same up to a day; after it everything is something else."""
    after = candles.dates > day
    factor = np.where(after, np.exp(np.random.default_rng(seed).standard_normal(len(candles))), 1.0)
    changed = {f: getattr(candles, f) * factor for f in ("open", "close", "volume")}
    return replace(candles, **changed, high=candles.high * factor * 1.5**after, low=candles.low * factor)


def write_folder(folder: Path, candles: dict[str, Candles]) -> None:
    for name, c in candles.items():
        lines = ["date,open,high,low,close,volume_usd"]
        lines += [
            f"{c.dates[i]},{c.open[i]},{c.high[i]},{c.low[i]},{c.close[i]},{c.volume[i]}"
            for i in range(len(c))
        ]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
