"""Measure the lag of the event loop while a model computes: in a thread of its own, and on the loop.

Run with `python bench/forecast_looplag.py FOLDER`. FOLDER holds versions (bench/forecast_versions.py).
The model predicts one batch after another without a pause. Rounds of an idle loop, of predictions in the
thread, and of predictions on the loop alternate. The ratio of the last two is the result: the lag of the idle
loop is the machine's own. Another process writes the time to a pipe a thousand times a second; the lag is the
age of each message when the loop reads it. (A timer of the loop would be too coarse: its resolution is a
millisecond.)

The coins of each batch are new to the models, as on a new day. The model that forecasts a coin first also
computes the values that all models share (variance, regime). One more line, without a bound, measures coins
that another model has forecast before: a tree model takes half a millisecond for ten of them, twice the
loop's own lag.

The first fifth of a second of a round does not count. A kernel that assumes that cores share no cache, as
virtual machines often report, first wakes the model's thread on the loop's own core. It moves the thread to
another core after 20 to 50 ms.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import uvloop
from forecast_versions import DATA, panel_of

from coincast_forecast.inference.predictor import Predictor
from coincast_forecast.inference.thread import shorten_switch_interval
from coincast_forecast.runtime import import_blocker
from coincast_modelkit.artifact import read_aliases, read_artifact
from coincast_modelkit.features import market_of
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models import ForecastModel

ROUNDS, SECONDS, SETTLE_SECONDS, SIZES, BOUND = 7, 1.2, 0.2, (10, 100), 0.25
HORIZONS = range(1, 31)
Way = Callable[[float], Awaitable[None]]


# `time.perf_counter` is the same clock in every process of the machine.
CLOCK = """
import os, struct, time
while True:
    os.write(1, struct.pack("d", time.perf_counter()))
    time.sleep(0.001)
"""


class Ticks:
    """The lag of the loop at each tick of the other process, in seconds."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._clock = subprocess.Popen([sys.executable, "-c", CLOCK], stdout=subprocess.PIPE)
        assert self._clock.stdout is not None
        self._pipe = self._clock.stdout.fileno()
        os.set_blocking(self._pipe, False)
        asyncio.get_running_loop().add_reader(self._pipe, self._read)

    def _read(self) -> None:
        now = time.perf_counter()
        self.late += [now - sent for (sent,) in struct.iter_unpack("d", os.read(self._pipe, 8 * 4096))]

    async def during(self, work: asyncio.Task[None]) -> list[float]:
        """Return the lags in seconds while the work runs, without those of the first SETTLE_SECONDS."""
        await asyncio.sleep(SETTLE_SECONDS)
        self.late.clear()
        await work
        return list(self.late)

    def stop(self) -> None:
        """End the other process."""
        asyncio.get_running_loop().remove_reader(self._pipe)
        self._clock.kill()
        self._clock.wait()


class First:
    """A model that gets unused copies of its inputs, so that it is always the first to forecast them."""

    def __init__(self, model: ForecastModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        """Return the model's forecast of copies, without the values that are computed on first use."""
        return self._model.predict([replace(coin) for coin in prepared], horizons)


async def idle(until: float) -> None:
    """Sleep, to measure the machine's own lag."""
    await asyncio.sleep(until - time.perf_counter())


def off_the_loop(predictor: Predictor, prepared: list[ModelInput]) -> Way:
    """Predict off the loop, as the service does."""

    async def run(until: float) -> None:
        while time.perf_counter() < until:
            await predictor.rows("usd", prepared)

    return run


def on_the_loop(model: ForecastModel, prepared: list[ModelInput]) -> Way:
    """Predict on the loop, which the service must not do."""

    async def run(until: float) -> None:
        while time.perf_counter() < until:
            model.predict(prepared, HORIZONS)
            await asyncio.sleep(0)

    return run


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else max(seconds)


async def measure(ticks: Ticks, model: ForecastModel, prepared: list[ModelInput]) -> tuple[str, float]:
    """Measure the lag of each way: the median over the rounds of its 99th percentile.

    Returns:
        The figures as text, and the lag off the loop divided by that on it.
    """
    predictor = Predictor(model, limit_seconds=30, max_batch=250, keep_rows=0, timer=time.perf_counter)
    ways = {"idle": idle, "off": off_the_loop(predictor, prepared), "on": on_the_loop(model, prepared)}
    lags: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            work = asyncio.ensure_future(way(time.perf_counter() + SECONDS))
            lags[name].append(p99(await ticks.during(work)))
    predictor.stop()
    late = {name: statistics.median(values) for name, values in lags.items()}
    ratio = late["off"] / late["on"]
    figures = (
        f"{1e3 * late['off']:.2f} ms off the loop, {1e3 * late['on']:.2f} ms on it, "
        f"{1e3 * late['idle']:.2f} ms idle: {ratio:.2f}"
    )
    return figures, ratio


async def main() -> None:
    """Print the lag of both ways for each model; exit with 1 if a ratio exceeds the bound."""
    root = Path(sys.argv[1])
    panel = panel_of(DATA)
    market = market_of(panel)
    ticks, missed = Ticks(), 0
    await asyncio.sleep(0.5)
    for name in ("lightgbm", "ml_ensemble", "lstm"):
        version = read_aliases(root, name).production
        if not version:
            continue
        model = read_artifact(root, name, version).model
        prepared = [prepare(candles, market, model.spec) for candles in panel.values()]
        for size in SIZES:
            batch = (prepared * size)[:size]
            figures, ratio = await measure(ticks, cast(ForecastModel, First(model)), batch)
            verdict = "ok" if ratio <= BOUND else "OVER"
            print(f"{name}, {size} coins a batch: lag p99 {figures} (bound {BOUND}) {verdict}", flush=True)
            missed += ratio > BOUND
        figures, _ = await measure(ticks, model, (prepared * SIZES[0])[: SIZES[0]])
        print(f"{name}, {SIZES[0]} coins that another model has forecast: lag p99 {figures}", flush=True)
    ticks.stop()
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    import_blocker.install()
    shorten_switch_interval()
    uvloop.run(main())
