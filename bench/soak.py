"""Soak test: an hour of mixed traffic with faults, then the slopes of memory, descriptors, tasks and latency.

    SOAK_MINUTES=60 SOAK_RATE=40 DATA=../shared/data/daily python bench/soak.py      # or: make soak

Traffic is sent at a fixed rate all the time. The first part kills every process once, checks that new
requests are answered again, and pauses each process once. Pools and caches fill in this part, so that it is
left out of the slopes; a reply with status 500 counts as an error in it too. In the second part, one fault
after another is switched on and off, with a pause between them.

The run fails if a series grows significantly, if a slope could not be measured, if any reply has status 500,
or if a request fails unexpectedly while no fault is on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from soaking.faults import FaultSchedule
from soaking.report import report
from soaking.samples import Sampler
from soaking.traffic import Traffic

from coincast_stack.options import StackOptions
from coincast_stack.stack import Stack, running_stack
from coincast_stack.status.readiness import wait_until_ready

WARM_SHARE = 0.15
READY_SECONDS = 1800.0
# The first model is trained on few days, to be ready soon. The caches are so small that they are full before
# the measurement, which could not distinguish a cache that fills from a leak.
SETTINGS = {
    "TRAINING_BOOTSTRAP_DAYS": "730",
    "GATEWAY_HOT_CACHE_BYTES": "2000000",
    "MARKET_MEMORY_ENTRIES": "100",
    "MARKET_MEMORY_DOCUMENTS_BYTES": "1000000",
    "FORECAST_FORECAST_CACHE_ROWS": "50",
}


async def soak(minutes: float, rate: float, data: Path | None) -> tuple[Traffic, Sampler, FaultSchedule]:
    """Run the soak in an empty folder.

    Args:
        minutes: The duration of the traffic.
        rate: Requests a second.
        data: A folder of daily candles for the sandbox; None for simulated ones.

    Returns:
        The recorded replies, the samples of the processes, and the faults.
    """
    with tempfile.TemporaryDirectory(prefix="coincast-soak-") as folder:
        options = StackOptions(Path(folder), data=data, extra_environment=SETTINGS)
        async with running_stack(options) as stack:
            await wait_until_ready(stack, options.train, lambda text, share: None, READY_SECONDS)
            return await _one_run(stack, minutes * 60, rate)


async def _one_run(stack: Stack, seconds: float, rate: float) -> tuple[Traffic, Sampler, FaultSchedule]:
    faults, sampler = FaultSchedule(stack), Sampler(stack)
    bare = f"{stack.sandbox_url}/sandbox/health"
    async with Traffic(stack.gateway_url, bare, rate, is_disturbed=lambda: faults.disturbed) as traffic:
        await faults.around(faults.kill_each_once())
        await faults.around(faults.stop_each_once())
        await asyncio.sleep(max(WARM_SHARE * seconds - traffic.elapsed_seconds, 5))
        traffic.forget()
        began = time.monotonic()
        sampling = asyncio.create_task(sampler.run(interval_seconds=max(seconds / 300, 1.0)))
        await faults.run(until=began + seconds * (1 - WARM_SHARE))
        sampling.cancel()
    return traffic, sampler, faults


def main() -> None:
    """Run the soak with the settings of the environment, and write its report to `soak.json` in OUT."""
    minutes = float(os.environ.get("SOAK_MINUTES") or 60)
    rate = float(os.environ.get("SOAK_RATE") or 40)
    data = os.environ.get("DATA") or ""
    print(f"soak: {minutes:g} minutes at {rate:g} requests a second", flush=True)
    holds, document = report(*asyncio.run(soak(minutes, rate, Path(data) if data else None)))
    out = Path(os.environ.get("OUT") or "reports")
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(document, indent=1))
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
