"""Measure processor seconds and memory of training per row: the figures of docs/scaling-training.md.

Run with `python bench/training_costs.py [--data DIR] [--days N ...]`. Processor time is measured instead of
wall time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import DEFAULT_SPEC, REFERENCE_COINS, batch, market_of
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import forecast_days
from coincast_training.registry.walk_forward_file import FILE_NAME, save_walk_forward
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.lightgbm.trainer import fit

sys.path.insert(0, str(Path(__file__).parent))
from training_executors import read_panel

R = TypeVar("R")


def main() -> None:
    """Print the cost of features, fits of growing panels, forecasts, the record, and one group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/daily"))
    parser.add_argument("--days", type=int, nargs="+", default=[250, 700, 2000, 10_000])
    parser.add_argument("--group", type=int, default=200, help="coins of the group; 0 leaves it out")
    parser.add_argument("--group-days", type=int, default=1200)
    options = parser.parse_args()
    whole = read_panel(options.data, 10_000, 10)
    reference = {coin: candles for coin, candles in whole.items() if coin in REFERENCE_COINS}
    features(whole, reference)
    for days in options.days:
        fitted = one_fit({coin: candles.tail(days) for coin, candles in whole.items()}, reference)
    forecasts(fitted, whole, reference)
    record({coin: candles.tail(1200) for coin, candles in whole.items()}, reference)
    if options.group:
        group(whole, reference, options.group, options.group_days)


def record(panel: Panel, reference: Panel) -> None:
    """Measure what the walk-forward record adds to a fit and to the size of a version."""
    alone, _ = spent(lambda: fit(panel, {"walk_forward": False}, 7, progress=silent, reference=reference))
    with_it, fitted = spent(lambda: fit(panel, {}, 7, progress=silent, reference=reference))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted.model.save(folder)
        model_bytes = sum(path.stat().st_size for path in folder.iterdir())
        save_walk_forward(fitted.walk_forward, folder)
        record_bytes = (folder / FILE_NAME).stat().st_size
    rows = sum(len(candles) for candles in panel.values())
    print(
        f"record: {with_it / alone:.2f} fits for a fit with its record ({with_it:.1f} s of {rows} rows); "
        f"model {model_bytes / 1e6:.2f} MB, record {record_bytes / 1e6:.2f} MB, "
        f"{record_bytes / len(panel) / 1e6:.3f} MB a coin",
        flush=True,
    )


def group(whole: Panel, reference: Panel, coins: int, days: int) -> None:
    """Measure the fit of a group of artificial coins, as a worker would fit it.

    Args:
        whole: The real coins that the artificial ones are made of.
        reference: The coins of the market features.
        coins: The number of coins in the group.
        days: The days of each coin.
    """
    panel = {f"coin-{number}": reshuffled(whole, number, days) for number in range(coins)}
    data = TrainingData(panel, reference, "bench")
    print(f"group of {coins} coins: {len(pickle.dumps(data)) / 1e6:.1f} MB to its worker", flush=True)
    one_fit(panel, reference)


def reshuffled(whole: Panel, number: int, days: int) -> Candles:
    """Return an artificial coin: blocks of thirty days of one real coin, chosen at random with a seed."""
    rng, source = np.random.default_rng(number), list(whole.values())[number % len(whole)]
    starts = rng.integers(1, len(source) - 30, days // 30 + 1)
    rows = np.concatenate([np.arange(start, start + 30) for start in starts])[:days]
    close = source.close
    new = 100 * np.exp(np.cumsum(np.log(close[rows] / close[rows - 1])))
    scale = new / close[rows]
    dates = source.dates[-1] - np.arange(days)[::-1].astype("timedelta64[D]")
    prices = {name: getattr(source, name)[rows] * scale for name in ("open", "high", "low")}
    return Candles.of(f"coin-{number}", dates, new, volume=source.volume[rows], **prices)


def features(whole: Panel, reference: Panel) -> None:
    """Measure all features of one coin's history; the first run compiles the kernels and does not count."""
    market = market_of(reference)
    seconds = min(spent(lambda: batch(whole["bitcoin"], market, DEFAULT_SPEC))[0] for _ in range(3))
    micros = 1e6 * seconds / len(whole["bitcoin"])
    print(f"features: {micros:.1f} us a day and coin ({len(DEFAULT_SPEC.names)} of them)", flush=True)


def one_fit(panel: Panel, reference: Panel) -> FittedModel:
    """Measure one fit of the pooled LightGBM on one thread."""
    rows = sum(len(candles) for candles in panel.values())
    seconds, fitted = spent(
        lambda: fit(panel, {"walk_forward": False}, 7, progress=silent, reference=reference)
    )
    micros = 1e6 * seconds / rows
    print(
        f"fit of {rows:6} rows: {seconds:5.1f} s, {micros:4.0f} us a row, peak {peak_mib()} MiB", flush=True
    )
    return fitted


def forecasts(fitted: FittedModel, whole: Panel, reference: Panel) -> None:
    """Measure forecasts from sixty origins of every coin, each at four horizons."""
    data, last = TrainingData(whole, reference, "bench"), whole["bitcoin"].dates[-31]
    first = last - np.timedelta64(59, "D")
    seconds, _ = spent(lambda: forecast_days(fitted.model, data, first, last, (1, 7, 14, 30)))
    print(
        f"forecasts: {1e3 * seconds / (60 * len(whole)):.2f} ms an origin with its four horizons", flush=True
    )


def spent(work: Callable[[], R]) -> tuple[float, R]:
    """Return the processor seconds of a call, and its result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def peak_mib() -> int:
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def silent(fraction: float, stage: str) -> None:
    """Ignore the progress."""


if __name__ == "__main__":
    main()
