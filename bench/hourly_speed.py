"""Measure hourly features and forecasts of one coin, and the size on disk of 250 coins over two years."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from coincast_market_data.archive.hourly_store import read_hours, write_hours
from coincast_market_data.domain import HourlyCandle
from coincast_modelkit.artifact.hourly import read_hourly_artifact
from coincast_modelkit.candles import FIELDS
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_training.starter.hourly import simulated_hours
from coincast_training.starter.install import STARTER_DIR, STARTER_VERSION

ROUNDS, LIMIT_MS = 30, 2.0
COINS, YEARS_DAYS = 250, 730


def milliseconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median processor milliseconds of a call in this thread."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        taken.append(1000 * (time.thread_time() - began))
    return statistics.median(taken)


def to_archive(candles: HourlyCandles) -> list[HourlyCandle]:
    """Return the hours in the form that the archive stores."""
    starts = candles.starts.astype("datetime64[s]").astype(np.int64)
    columns = [getattr(candles, field).round(6).tolist() for field in FIELDS]
    return [
        HourlyCandle(start, close, open=opened, high=high, low=low, volume=volume)
        for start, opened, high, low, close, volume in zip(starts.tolist(), *columns, strict=True)
    ]


def main() -> int:
    """Print the figures; return 1 if the features take longer than the limit."""
    coins = {c: simulated_hours(c, s, YEARS_DAYS) for s, c in enumerate(("bitcoin", "ethereum", "solana"))}
    model = read_hourly_artifact(STARTER_DIR, STARTER_VERSION).model
    coin = coins["ethereum"]
    market = model.market(coins, coin.closes_at)
    features = milliseconds(lambda: model.row(coin, market))
    one = milliseconds(lambda: model.predict([coin], (1, 6, 24, 48), reference=market))
    every = milliseconds(lambda: model.predict([coin], range(1, 49), reference=market))
    print(f"hourly features of one coin, latest: {features:.2f} ms (limit {LIMIT_MS:.0f})")
    print(f"forecast of one coin: {one:.2f} ms at four horizons, {every:.2f} ms at every hour to 48")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ethereum.parquet"
        write_hours(path, to_archive(coin))
        size = path.stat().st_size
        opened = milliseconds(lambda: read_hours(path), 5)
    print(
        f"archive: {size / 1e6:.2f} MB a coin of {YEARS_DAYS} days, "
        f"{COINS * size / 1e6:.0f} MB for {COINS} coins; "
        f"a history opens in {opened:.0f} ms"
    )
    return 0 if features <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
