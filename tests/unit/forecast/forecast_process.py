"""Runs a service as the process that it is in production. Shared with the benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FULL_NAME = "coincast.forecast.v1.ForecastService"


@dataclass(frozen=True, slots=True)
class Running:
    """A service that serves."""

    address: str
    metrics_port: int
    child: asyncio.subprocess.Process


@asynccontextmanager
async def process(command: Sequence[str], **settings: Any) -> AsyncIterator[Running]:
    """A service of the chassis as a process, from when it says that it serves until the end of the block."""
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    child = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    drain: asyncio.Task[None] | None = None
    try:
        running = await _until_serving(child)
        drain = asyncio.create_task(_swallow(child.stdout))
        yield running
    finally:
        if child.returncode is None:
            child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), 20)
        if child.returncode is None:
            child.kill()
            await child.wait()
        if drain is not None:
            await drain


def forecast_process(
    target: str, artifacts: Path, spool: Path, *, redis_url: str = "redis://127.0.0.1:1/0", **settings: Any
) -> contextlib.AbstractAsyncContextManager[Running]:
    """The forecast service as a process on a free port."""
    fixed = {
        "FORECAST_PORT": 0,
        "FORECAST_METRICS_PORT": 0,
        "FORECAST_MARKET_TARGET": target,
        "FORECAST_ARTIFACTS_DIR": artifacts,
        "FORECAST_SPOOL_DIR": spool,
        "FORECAST_REDIS_URL": redis_url,
        "FORECAST_WARM_SECONDS": 60,
    }
    more = {f"FORECAST_{name.upper()}": value for name, value in settings.items()}
    python = os.environ.get("FORECAST_PYTHON", sys.executable)
    return process((python, "-m", "coincast_forecast"), **{**fixed, **more})


async def _until_serving(child: asyncio.subprocess.Process) -> Running:
    assert child.stdout is not None
    metrics_port = 0
    while line := (await child.stdout.readline()).decode():
        plain = line.replace(" ", "")
        if found := re.search(r'"metrics_port":(\d+)', plain):
            metrics_port = int(found[1])
        if '"event":"serving"' in plain and (found := re.search(r"127\.0\.0\.1:\d+", plain)):
            return Running(found[0], metrics_port, child)
    raise RuntimeError(f"it ended with {await child.wait()} before it served")


async def _swallow(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass
