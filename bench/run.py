"""Run benchmarks by name, or all of them: `python bench/run.py [--data DIR] [NAME ...]`.

Each is a script beside this one. Those of serving get a folder of versions trained for them. All requested
ones are run; the exit code is 1 if one exceeds a bound or fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ON_NOTHING = (
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
ON_VERSIONS = ("forecast_latency", "forecast_looplag", "forecast_throughput", "forecast_footprint")


def main() -> int:
    """Run the benchmarks and return the exit code."""
    parser = argparse.ArgumentParser(description="Every benchmark, each figure beside its limit.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*ON_NOTHING, *ON_VERSIONS)))
    parser.add_argument("--data", default="", help="folder of daily candles, for the versions")
    options = parser.parse_args()
    names = options.names or [*ON_NOTHING, *ON_VERSIONS]
    if unknown := sorted({*names} - {*ON_NOTHING, *ON_VERSIONS}):
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    failed = [name for name in names if name in ON_NOTHING and not ran(name)]
    served = [name for name in names if name in ON_VERSIONS]
    if served:
        with tempfile.TemporaryDirectory() as versions:
            if not ran("forecast_versions", versions, *filter(None, [options.data])):
                return 1
            failed += [name for name in served if not ran(name, versions)]
    if failed:
        print(f"over a bound, or failed: {' '.join(failed)}")
    return int(bool(failed))


def ran(name: str, *arguments: str) -> bool:
    """Run one script and return whether it succeeded."""
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, HERE / f"{name}.py", *arguments], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
