"""How late the event loop is while a model computes, off it and on it: `python bench/forecast_looplag.py
FOLDER`.

FOLDER holds versions (bench/forecast_versions.py). Batches follow one another without pause; rounds of
an idle loop and of both ways take turns. The ratio is what counts; what the idle loop is late by is the
machine's own.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from forecast_versions import DATA, panel_of

from coincast_forecast import lean_imports
from coincast_forecast.predictor import Predictor
from coincast_forecast.worker import yield_sooner
from coincast_modelkit.artifact import read_aliases, read_artifact
from coincast_modelkit.features import market_of
from coincast_modelkit.models import ForecastModel
from coincast_modelkit.prepared import Prepared, prepare

ROUNDS, SECONDS, SIZES, BOUND = 9, 0.4, (10, 100), 0.25
HORIZONS = range(1, 31)
Way = Callable[[ForecastModel, list[Prepared], float], Awaitable[None]]


async def lag_during(work: asyncio.Task[None]) -> list[float]:
    """How late each wake-up was until the work ended."""
    late = []
    while not work.done():
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late.append(max(0.0, time.perf_counter() - due))
    return late


async def idle(_model: ForecastModel, _prepared: list[Prepared], _until: float) -> None:
    """Nothing: what the machine does by itself."""
    await asyncio.sleep(SECONDS)


async def off_the_loop(model: ForecastModel, prepared: list[Prepared], until: float) -> None:
    """As the service does it."""
    predictor = Predictor(model, limit_seconds=30, max_batch=250, keep_rows=0, timer=time.perf_counter)
    while time.perf_counter() < until:
        await predictor.rows("usd", prepared)
    predictor.stop()


async def on_the_loop(model: ForecastModel, prepared: list[Prepared], until: float) -> None:
    """What it must not do."""
    while time.perf_counter() < until:
        model.predict(prepared, HORIZONS)
        await asyncio.sleep(0)


def p99(seconds: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else max(seconds)


async def measure(model: ForecastModel, prepared: list[Prepared]) -> str:
    """The lag of each way: the median of the rounds' 99th percentiles."""
    ways: dict[str, Way] = {"idle": idle, "off": off_the_loop, "on": on_the_loop}
    lags: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            work = way(model, prepared, time.perf_counter() + SECONDS)
            lags[name].append(p99(await lag_during(asyncio.ensure_future(work))))
    late = {name: statistics.median(values) for name, values in lags.items()}
    ratio = late["off"] / late["on"]
    return (
        f"{1e3 * late['off']:.2f} ms off the loop, {1e3 * late['on']:.2f} ms on it, "
        f"{1e3 * late['idle']:.2f} ms idle: {ratio:.2f} (bound {BOUND}) {'ok' if ratio <= BOUND else 'OVER'}"
    )


async def main() -> None:
    """Print the lag of both ways for each model."""
    root = Path(sys.argv[1])
    panel = panel_of(DATA)
    market = market_of(panel)
    for name in ("lightgbm", "ml_ensemble", "lstm"):
        version = read_aliases(root, name).production
        if not version:
            continue
        model = read_artifact(root, name, version).model
        prepared = [prepare(candles, market, model.spec) for candles in panel.values()]
        for size in SIZES:
            batch = (prepared * size)[:size]
            print(f"{name}, {size} coins a batch: lag p99 {await measure(model, batch)}", flush=True)


if __name__ == "__main__":
    lean_imports.install()
    yield_sooner()
    uvloop.run(main())
