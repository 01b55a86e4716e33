"""Fitting and inference of each model: `python bench/models_speed.py [FOLDER]` (else simulated candles).

The panel of all coins over all their history is walked forward only where a folder is given. All runs on one
thread, so the figures are seconds of its processor: a busy machine does not change what the work is.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from coincast_modelkit.candles import Candles
from coincast_modelkit.features import market_of
from coincast_modelkit.models import LightgbmModel, TechnicalModel
from coincast_modelkit.prepared import Prepared, prepare
from coincast_training.fitting import lightgbm, ml_ensemble

ROUNDS = 7


def simulated(coin_id: str, days: int, seed: int) -> Candles:
    """A random walk with clustered volatility and ranges."""
    rng = np.random.default_rng(seed)
    volatility = 0.03 * np.exp(
        np.convolve(0.15 * rng.standard_normal(days + 60), 0.95 ** np.arange(60), "valid")[:days]
    )
    close = 100 * np.exp(np.cumsum(volatility * rng.standard_normal(days)))
    high, low = close * np.exp(volatility * rng.random(days)), close * np.exp(-volatility * rng.random(days))
    dates = np.datetime64("2025-08-31", "D") - np.arange(days)[::-1]
    return Candles.of(
        coin_id, dates, close, open=np.roll(close, 1), high=high, low=low, volume=1e8 * rng.random(days)
    )


def from_folder(folder: Path) -> dict[str, Candles]:
    """Every CSV of a folder of daily candles."""
    panel = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        columns = {
            name: [float(r[name]) for r in rows] for name in ("open", "high", "low", "close", "volume_usd")
        }
        panel[path.stem] = Candles.of(
            path.stem,
            [r["date"] for r in rows],  # type: ignore[misc]  # ISO days are read as dates
            columns["close"],
            open=columns["open"],
            high=columns["high"],
            low=columns["low"],
            volume=columns["volume_usd"],
        )
    return panel


def quiet(fraction: float, stage: str) -> None:
    """Hear of progress and say nothing."""


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median over some rounds."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def inference(name: str, model: object, many: list[Prepared], bare: Callable[[int], object] | None) -> None:
    """Milliseconds for one coin and for 250, beside the bare library call on the same rows."""
    for n in (1, len(many)):
        own = 1000 * seconds(lambda n=n: model.predict(many[:n], range(1, 31)))  # type: ignore[attr-defined, misc]
        beside = f", bare library {1000 * seconds(lambda n=n: bare(n)):.2f} ms" if bare else ""  # type: ignore[misc]
        print(f"  {name}: {n:3d} coins, 30 horizons: {own:.2f} ms{beside}")


def serving(panel: dict[str, Candles], model: LightgbmModel) -> None:
    """Preparation and inference for 250 coins."""
    market = market_of(panel)
    coins = list(panel.values())
    many = [prepare(coins[i % len(coins)].tail(400 + i), market, model.spec) for i in range(250)]
    one = 1000 * seconds(lambda: prepare(coins[0], market, model.spec))
    print(f"inference (prepare: {one:.1f} ms a coin)")
    rows = np.stack([p.row for p in many])
    boosters = [*model.volatility.boosters, *model.mean.boosters]
    inference("lightgbm", model, many, lambda n: [b.predict(rows[:n], num_threads=1) for b in boosters])
    inference("technical", TechnicalModel(), many, None)


def main() -> int:
    """Print the figures; 1 where a limit is missed."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    names = ("bitcoin", "ethereum", "binancecoin", "ripple", "cardano")
    panel = from_folder(folder) if folder else {c: simulated(c, 900, i) for i, c in enumerate(names)}
    one = {"bitcoin": panel["bitcoin"].tail(365)}
    reference = {c: x.tail(365) for c, x in panel.items()}
    bare = seconds(
        lambda: lightgbm.fit(one, {"walk_forward": False}, 1, progress=quiet, reference=reference), 5
    )
    whole = seconds(lambda: lightgbm.fit(one, {}, 1, progress=quiet, reference=reference), 3)
    print(f"lightgbm, one coin, 365 days: fit {bare:.2f} s (limit 1), with its record {whole:.2f} s")
    ensemble = seconds(lambda: ml_ensemble.fit(one, {}, 1, progress=quiet, reference=reference), 1)
    print(f"ml_ensemble, one coin, 365 days: {ensemble:.2f} s (limit 10)")
    began = time.process_time()
    fitted = lightgbm.fit(panel, {"walk_forward": folder is not None}, 1, progress=quiet)
    days = sum(len(c) for c in panel.values())
    print(f"lightgbm, {len(panel)} coins, {days} days in all: {time.process_time() - began:.1f} s", end="")
    print(" with its walk-forward record" if folder else "")
    assert isinstance(fitted.model, LightgbmModel)
    serving(panel, fitted.model)
    return 0 if bare < 1 and ensemble < 10 else 1


if __name__ == "__main__":
    sys.exit(main())
