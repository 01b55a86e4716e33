"""Run benchmarks by name, or all of them: `python bench/run.py [--data DIR] [NAME ...]`.

Each benchmark is a script in this folder. The benchmarks of forecasts get a folder of model versions, which
is trained first. A failure does not stop the others. The exit code is 1 if a benchmark exceeds a bound or
fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Benchmarks without arguments.
STANDALONE = (
    "market_upstream_calls",
    "market_hot_prices",
    "market_memory",
    "price_streams",
    "features_speed",
    "hourly_speed",
    "models_speed",
    "scenarios_speed",
    "touch_latency",
    "gateway_speed",
    "forecast_caches",
    "training_executors",
    "training_costs",
    "operations_cost",
    "export_speed",
)
# Benchmarks that take a folder of model versions.
ON_VERSIONS = ("forecast_latency", "forecast_looplag", "forecast_throughput", "forecast_footprint")


def main() -> int:
    """Run the benchmarks and return the exit code."""
    parser = argparse.ArgumentParser(description="Run benchmarks; each prints its figures with their limits.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*STANDALONE, *ON_VERSIONS)))
    parser.add_argument("--data", default="", help="folder of daily candles, to train the versions on")
    options = parser.parse_args()
    names = options.names or [*STANDALONE, *ON_VERSIONS]
    if unknown := sorted({*names} - {*STANDALONE, *ON_VERSIONS}):
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    failed = [name for name in names if name in STANDALONE and not succeeds(name)]
    of_versions = [name for name in names if name in ON_VERSIONS]
    if of_versions:
        with tempfile.TemporaryDirectory() as versions:
            if not succeeds("forecast_versions", versions, *filter(None, [options.data])):
                return 1
            failed += [name for name in of_versions if not succeeds(name, versions)]
    if failed:
        print(f"over a bound, or failed: {' '.join(failed)}")
    return int(bool(failed))


def succeeds(name: str, *arguments: str) -> bool:
    """Run one script and return whether its exit code is 0."""
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, HERE / f"{name}.py", *arguments], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
