"""How late the event loop is while a model computes, off it and on it: `python bench/forecast_looplag.py
FOLDER`.

FOLDER holds versions (bench/forecast_versions.py). Rounds of both ways take turns; the ratio is what
counts.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
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

ROUNDS, COINS, BOUND = 7, 100, 0.25
HORIZONS = range(1, 31)


async def lag_during(work: asyncio.Task[None]) -> list[float]:
    """How late each wake-up was until the work ended."""
    late = []
    while not work.done():
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late.append(max(0.0, time.perf_counter() - due))
    return late


async def off_the_loop(model: ForecastModel, prepared: list[Prepared]) -> None:
    """As the service does it."""
    predictor = Predictor(model, limit_seconds=30, max_batch=250, keep_rows=0, timer=time.perf_counter)
    for _ in range(2):
        await predictor.rows("usd", prepared)


async def on_the_loop(model: ForecastModel, prepared: list[Prepared]) -> None:
    """What it must not do."""
    for _ in range(2):
        model.predict(prepared, HORIZONS)
        await asyncio.sleep(0)


def p99(seconds: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else max(seconds)


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
        prepared = [
            prepare(candles, market, model.spec) for candles in (list(panel.values()) * COINS)[:COINS]
        ]
        off, on = [], []
        for _ in range(ROUNDS):
            off.append(p99(await lag_during(asyncio.create_task(off_the_loop(model, prepared)))))
            on.append(p99(await lag_during(asyncio.create_task(on_the_loop(model, prepared)))))
        ratio = statistics.median(off) / statistics.median(on)
        print(
            f"{name}, {COINS} coins a batch: lag p99 {1e3 * statistics.median(off):.1f} ms off the loop, "
            f"{1e3 * statistics.median(on):.1f} ms on it: {ratio:.2f} (bound {BOUND}) "
            f"{'ok' if ratio <= BOUND else 'OVER'}"
        )


if __name__ == "__main__":
    lean_imports.install()
    yield_sooner()
    uvloop.run(main())
