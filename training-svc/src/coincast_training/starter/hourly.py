"""Build the starter version of the hourly model: `python -m coincast_training.starter.hourly --data DIR`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from coincast_chassis.clock import steady_clock
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyCandles, HourlyPanel
from coincast_training.evaluation.options import BadOptionError
from coincast_training.hourly.folder_loader import read_hourly_folder
from coincast_training.hourly.trainer import MODEL, FittedIntraday, fit_intraday, write_intraday
from coincast_training.pipeline.odd_coins import without_odd_hours
from coincast_training.registry.registry import Registry
from coincast_training.starter.install import STARTER_DIR

SIMULATED_DAYS = 110
STEPS = 12
START = np.datetime64("2024-01-01T00", "h")


def simulated_hours(coin_id: str, seed: int, days: int = SIMULATED_DAYS) -> HourlyCandles:
    """Simulate hourly candles whose volatility reverts to 0.6 % per hour.

    Golden inputs are stored in an artifact, which must not contain candles of a data provider.
    """
    rng = np.random.default_rng(seed)
    hours = days * HOURS_A_DAY
    shocks = 0.04 * rng.standard_normal(hours)
    level = np.empty(hours)
    last = 0.0
    for hour in range(hours):
        last = 0.995 * last + shocks[hour]
        level[hour] = last
    steps = 0.006 * np.exp(level)[:, None] * rng.standard_normal((hours, STEPS)) / np.sqrt(STEPS)
    path = np.log(100.0) + np.cumsum(steps.reshape(-1)).reshape(hours, STEPS)
    opened = np.concatenate([[np.log(100.0)], path[:-1, -1]])
    inside = np.column_stack([opened, path])
    return HourlyCandles.of(
        coin_id,
        START + np.arange(hours).astype("timedelta64[h]"),
        np.exp(path[:, -1]),
        open=np.exp(opened),
        high=np.exp(inside.max(axis=1)),
        low=np.exp(inside.min(axis=1)),
        volume=1e6 * np.exp(0.3 * rng.standard_normal(hours)),
    )


def write_hourly_starter(fitted: FittedIntraday, panel: HourlyPanel, out: Path, *, created_at: float) -> Path:
    """Write a fitted model as `<out>/intraday/v000001`; replace the existing folder."""
    shutil.rmtree(out / MODEL, ignore_errors=True)
    golden = [simulated_hours(c, s) for s, c in enumerate(("bitcoin", "ethereum", "simulated-coin"), start=1)]
    version = write_intraday(
        Registry(out, clock=steady_clock()),
        fitted,
        panel,
        source="folder",
        created_at=created_at,
        golden_coins=golden,
        notes={
            "starter": {
                "coins": sorted(panel),
                "hours": {coin: len(candles) for coin, candles in sorted(panel.items())},
                "golden_inputs": "simulated candles",
            }
        },
        with_forecasts=False,
    )
    return out / MODEL / version


def main() -> int:
    """Build the starter from the command line; return 2 if the data cannot be used."""
    parser = argparse.ArgumentParser(prog="starter.hourly", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of <coin id>.parquet with hours")
    parser.add_argument("--out", type=Path, default=STARTER_DIR, help="folder of the artifacts")
    options = parser.parse_args()
    now = time.time()
    try:
        panel, left_out = without_odd_hours(read_hourly_folder(options.data).panel)
        for coin_id, reason in left_out.items():
            sys.stderr.write(f"{coin_id} is left out: {reason}\n")
        fitted = fit_intraday(panel, measured_at=now, progress=lambda f, s: print(f"{f:.0%} {s}"))  # noqa: T201
        folder = write_hourly_starter(fitted, panel, options.out, created_at=now)
    except (BadOptionError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    sys.stdout.write(f"{MODEL}: {folder} ({size / 1e6:.2f} MB)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
