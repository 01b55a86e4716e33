"""Measure fitting and inference of each model: `python bench/models_speed.py [FOLDER]`.

FOLDER holds daily candles; the default is `shared/data/daily` beside the repository. If there is no such
folder, the candles are simulated, and the fit of all coins over their whole history is left out. Everything
runs on one thread and is measured in processor time, which a busy machine hardly changes. Each inference
alternates with a bare call of the library on the same rows.
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
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models import EnsembleModel, ForecastModel, LightgbmModel, LstmModel, TechnicalModel
from coincast_training.trainers.registry import find_fit, unavailable_reason

DATA = Path(__file__).resolve().parents[2] / "shared/data/daily"
ROUNDS = 7
COINS, HORIZONS = 250, range(1, 31)
# Calls the library alone, on the first n coins.
Bare = Callable[[int], object]


def simulated(coin_id: str, days: int, seed: int) -> Candles:
    """Return a random walk with clustered volatility and ranges."""
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
    """Read every CSV of a folder of daily candles."""
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
    """Ignore the progress."""


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median processor seconds of a call over some rounds."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def inference(name: str, model: ForecastModel, many: list[ModelInput], bare: Bare | None) -> None:
    """Print the milliseconds for one coin and for all, and those of a bare library call on the same rows.

    Args:
        name: The name of the model to print.
        model: The model to measure.
        many: The prepared inputs.
        bare: The library call; None for a model without a library.
    """
    for n in (1, len(many)):

        def own(n: int = n) -> object:
            return model.predict(many[:n], HORIZONS)

        def library(n: int = n) -> object:
            return bare(n) if bare else None

        own(), library()
        rounds = [(seconds(own, 1), seconds(library, 1)) for _ in range(ROUNDS)]
        mine, alone = (1000 * statistics.median(column) for column in zip(*rounds, strict=True))
        text = f"bare library {alone:8.2f} ms, {mine / max(alone, 1e-6):4.1f} times" if bare else "no library"
        print(f"  {name:24s} {n:3d} coins, {len(HORIZONS)} horizons: {mine:8.2f} ms, {text}")


def prepared(panel: dict[str, Candles], model: ForecastModel) -> list[ModelInput]:
    """Return the inputs of as many coins as a request may name, with histories of different lengths."""
    market, coins = market_of(panel), list(panel.values())
    return [prepare(coins[i % len(coins)].tail(400 + i), market, model.spec) for i in range(COINS)]


def bare_trees(model: LightgbmModel, many: list[ModelInput]) -> Bare:
    """Return a call of the model's boosters alone, on prepared features."""
    rows = np.stack([p.row for p in many])
    boosters = [*model.volatility.boosters, *model.mean.boosters]
    return lambda n: [b.predict(rows[:n], num_threads=1) for b in boosters]


def bare_network(model: LstmModel, many: list[ModelInput]) -> Bare:
    """Return a call of onnxruntime alone, on standardised windows."""
    windows = np.stack([p.window for p in many])
    columns = [model.spec.names.index(name) for name in model.inputs]
    inputs = model.scaler(windows[:, -model.window_days :, columns])
    return lambda n: model.network.samples(inputs[:n])


def bare_pool(model: EnsembleModel, many: list[ModelInput]) -> Bare:
    """Return a call of the ensemble's boosters and its network, without pooling."""
    rows, windows = np.stack([p.row for p in many]), np.stack([p.window for p in many])
    boosters = [b for anchor in model.anchors for b in anchor.scales.boosters.values()]
    rnn = model.rnn
    if rnn is None:
        return lambda n: [b.predict(rows[:n], num_threads=1) for b in boosters]
    columns = [model.spec.names.index(name) for name in rnn.inputs]
    inputs, network = rnn.scaler(windows[:, -rnn.window_days :, columns]), rnn.network
    return lambda n: [*(b.predict(rows[:n], num_threads=1) for b in boosters), network.samples(inputs[:n])]


def serving(panel: dict[str, Candles]) -> None:
    """Measure the preparation and inference of COINS coins by every model that can be trained here."""
    recent = {c: x.tail(900) for c, x in panel.items()}
    trees = find_fit("lightgbm")(recent, {"walk_forward": False}, 1, progress=quiet).model
    assert isinstance(trees, LightgbmModel)
    many = prepared(recent, trees)
    market = market_of(recent)
    one = 1000 * seconds(lambda: prepare(many[0].candles, market, trees.spec))
    print(f"inference (prepare: {one:.1f} ms a coin, with all {len(trees.spec.names)} features)")
    inference("lightgbm", trees, many, bare_trees(trees, many))
    for name, params in (
        ("ml_ensemble without lstm", {"lstm": "off"}),
        ("ml_ensemble with lstm", {"lstm": "on"}),
    ):
        if params["lstm"] == "on" and unavailable_reason("lstm"):
            continue
        pool = find_fit("ml_ensemble")(recent, {**params, "fold_days": 120}, 1, progress=quiet).model
        assert isinstance(pool, EnsembleModel)
        passes = f", {len(pool.rnn.network.context_masks)} passes" if pool.rnn else ""
        inference(name + passes, pool, many, bare_pool(pool, many))
    if not unavailable_reason("lstm"):
        network = find_fit("lstm")(recent, {"walk_forward": False}, 1, progress=quiet).model
        assert isinstance(network, LstmModel)
        windows = prepared(recent, network)
        inference("lstm", network, windows, bare_network(network, windows))
    inference("technical", TechnicalModel(), many, None)


def fitting(panel: dict[str, Candles]) -> bool:
    """Measure fits of one coin over a year; return whether both models stay within their limits."""
    one = {"bitcoin": panel["bitcoin"].tail(365)}
    reference = {c: x.tail(365) for c, x in panel.items()}
    bare = seconds(
        lambda: find_fit("lightgbm")(one, {"walk_forward": False}, 1, progress=quiet, reference=reference), 5
    )
    whole = seconds(lambda: find_fit("lightgbm")(one, {}, 1, progress=quiet, reference=reference), 3)
    print(f"lightgbm, one coin, 365 days: fit {bare:.2f} s (limit 1), with its record {whole:.2f} s")
    ensemble = seconds(lambda: find_fit("ml_ensemble")(one, {}, 1, progress=quiet, reference=reference), 3)
    print(f"ml_ensemble, one coin, 365 days: {ensemble:.2f} s (limit 10)")
    return bare < 1 and ensemble < 10


def whole_panel(panel: dict[str, Candles]) -> None:
    """Measure a fit of all coins and histories with its walk-forward record, like a nightly training."""
    days = sum(len(c) for c in panel.values())
    works: dict[str, Callable[[], object]] = {
        "lightgbm": lambda: find_fit("lightgbm")(panel, {}, 1, progress=quiet),
        "ml_ensemble without lstm": lambda: find_fit("ml_ensemble")(
            panel, {"lstm": "off"}, 1, progress=quiet
        ),
    }
    if not unavailable_reason("lstm"):
        works["ml_ensemble with lstm"] = lambda: find_fit("ml_ensemble")(
            panel, {"lstm": "on"}, 1, progress=quiet
        )
    for name, work in works.items():
        taken = seconds(work, 1)
        print(f"{name}, {len(panel)} coins, {days} days in all, with its record: {taken / 60:.1f} min")


def main() -> int:
    """Print the figures; return 1 if a limit is missed."""
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    names = ("bitcoin", "ethereum", "binancecoin", "ripple", "cardano")
    found = given.is_dir()
    panel = from_folder(given) if found else {c: simulated(c, 900, i) for i, c in enumerate(names)}
    holds = fitting(panel)
    serving(panel)
    if found:
        whole_panel(panel)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
