"""The training service as a process of its own, as it runs in production; a library can be taken from it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.integration.training_rig import settings_in

STARTS_SECONDS = 120
# Runs at the start of every Python below: an import of these libraries fails as if they were not installed.
ABSENT = "import sys\nfor name in {names!r}:\n    sys.modules[name] = None\n"


@dataclass(frozen=True, slots=True)
class Running:
    """Where the process answers, and its id."""

    address: str
    metrics_url: str
    pid: int


def environment_without(folder: Path, *names: str) -> dict[str, str]:
    """The environment of processes in which these libraries are not installed."""
    if not names:
        return dict(os.environ)
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(ABSENT.format(names=names))
    return os.environ | {"PYTHONPATH": str(folder)}


@asynccontextmanager
async def training_process(
    folder: Path, redis_url: str, market: str, *, without: tuple[str, ...] = (), **options: object
) -> AsyncIterator[Running]:
    """The service, once it serves."""
    chosen = settings_in(folder, redis_url, market, metrics_port=0, **options)
    given = {f"TRAINING_{name.upper()}": _text(getattr(chosen, name)) for name in chosen.model_fields_set}
    environment = environment_without(folder / "without", *without) | given
    with (folder / "service.log").open("w+") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "coincast_training", stdout=log, env=environment
        )
        try:
            yield await _listening(process, folder / "service.log")
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), 60)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


async def _listening(process: asyncio.subprocess.Process, log: Path) -> Running:
    for _ in range(STARTS_SECONDS * 10):
        reported = _reported(log)
        if "serving" in reported:
            found = reported["listening"]
            url = f"http://127.0.0.1:{found['metrics_port']}/metrics"
            return Running(str(found["address"]), url, process.pid)
        assert process.returncode is None, reported
        await asyncio.sleep(0.1)
    raise AssertionError(f"it never served: {reported}")


def _reported(log: Path) -> dict[str, dict[str, object]]:
    """The last line of each event."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return {line["event"]: line for line in lines}
