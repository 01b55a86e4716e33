"""Measure the cost of a running forecast service: import time, time to ready, resident memory.

Run with `python bench/forecast_footprint.py FOLDER`. FOLDER holds versions (bench/forecast_versions.py).
FORECAST_PYTHON names the interpreter of the measured processes. With it, the lean environment of the image
(requirements/forecast.txt) can be measured from a developer's environment.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
from forecast_rig import forecast_service, market

from coincast.forecast.v1 import forecast_pb2 as pb

PYTHON = os.environ.get("FORECAST_PYTHON", sys.executable)
SERVICE = (
    "from coincast_forecast.runtime import import_blocker; import_blocker.install(); "
    "import coincast_chassis.run, coincast_forecast.app"
)
LIBRARIES = "import grpc.aio, numpy, pydantic_settings, redis.asyncio"


def import_seconds(code: str, times: int = 5) -> tuple[float, float]:
    """Return the median wall seconds and CPU seconds of the imports, each time in a new process."""
    timed = (
        f"import time; began = time.perf_counter(), time.process_time(); {code}; "
        "print(time.perf_counter() - began[0], time.process_time() - began[1])"
    )
    taken = [
        subprocess.run([PYTHON, "-c", timed], capture_output=True, check=True, text=True).stdout.split()
        for _ in range(times)
    ]
    wall, cpu = zip(*((float(a), float(b)) for a, b in taken), strict=True)
    return statistics.median(wall), statistics.median(cpu)


async def main() -> None:
    """Print all figures."""
    wall, cpu = import_seconds(SERVICE)
    print(
        f"imports {wall:.2f} s (bound 1), {cpu:.2f} s of CPU; "
        f"its main libraries alone {import_seconds(LIBRARIES)[0]:.2f} s"
    )
    root = Path(sys.argv[1])
    async with market() as target:
        began = time.perf_counter()
        async with forecast_service(target, root) as (stub, running):
            ready = time.perf_counter() - began
            process = psutil.Process(running.child.pid)
            used = process.cpu_times()
            cpu = used.user + used.system + used.children_user + used.children_system
            status = await stub.GetStatus(pb.GetStatusRequest())
            versions = [f"{v.model} {v.version}".strip() for v in status.loaded]
            print(f"ready in {ready:.2f} s (bound 3), {cpu:.2f} s of CPU, with the trial: {versions}")
            for what, coins in (("loaded", 0), ("10 coins forecast", 10), ("250 coins forecast", 250)):
                for model in ("lightgbm", "ml_ensemble", "lstm", "technical")[: 4 if coins else 0]:
                    ids = [f"like-{i}" for i in range(coins)]
                    for _ in range(4):
                        request = pb.GetForecastsRequest(ids=ids, days=30, model=model)
                        reply = await stub.GetForecasts(request, timeout=60)
                        if not any("no answer" in f.reason for f in reply.forecasts):
                            break
                print(
                    f"{what}: {process.memory_info().rss / 2**20:.0f} MB resident (bound 200 with all loaded)"
                )


if __name__ == "__main__":
    asyncio.run(main())
