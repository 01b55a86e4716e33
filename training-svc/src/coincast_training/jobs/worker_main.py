"""Process of one job: read it from stdin, train, and write events as JSON lines."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, TextIO

import structlog

from coincast_chassis.errors import CoincastError
from coincast_training.jobs.serialization import spec_from_dict
from coincast_training.optional_imports import import_lightgbm_alone
from coincast_training.pipeline.factory import open_run
from coincast_training.settings import Settings

LEAST_PAUSE_SECONDS = 0.2
# Training can wait; requests for prices and forecasts cannot.
NICENESS = 5


class EventWriter:
    """Write events to the parent process; progress at most five times a second."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._lock = out, threading.Lock()
        self._last_at, self._last_stage = 0.0, ""

    def say(self, **event: Any) -> None:
        """Write one event as one line."""
        with self._lock:
            self._out.write(json.dumps(event) + "\n")
            self._out.flush()

    def progress(self, fraction: float, stage: str) -> None:
        """Report the job's progress."""
        now = time.monotonic()
        if stage != self._last_stage or now - self._last_at > LEAST_PAUSE_SECONDS:
            self._last_at, self._last_stage = now, stage
            self.say(event="progress", fraction=fraction, stage=stage)


def main() -> int:
    """Run the job on stdin and return 0 if it reported its result."""
    os.nice(NICENESS)
    voice = EventWriter(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # whatever a library prints belongs to the log
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    order = json.loads(sys.stdin.readline())
    import_lightgbm_alone()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return asyncio.run(_run(order, voice))


def _end_with_parent() -> None:
    """End this process when the parent's end of stdin closes.

    That happens only when the parent is gone, and an orphan must not continue to write.
    """
    sys.stdin.read()
    os._exit(4)


async def _run(order: dict[str, Any], voice: EventWriter) -> int:
    job = order["job"]
    try:
        async with open_run(Settings(**order["settings"]), job["spec"]["model"]) as pipeline:
            outcome = await pipeline.run(
                spec_from_dict(job["spec"]),
                requested_by=job["requested_by"],
                run_id=job["job_id"],
                progress=voice.progress,
            )
    except CoincastError as error:
        voice.say(event="failed", message=error.message)
        return 0
    except Exception as error:  # the trace belongs to the log, one sentence to the job
        logging.getLogger(__name__).exception("the job broke")
        voice.say(
            event="failed", message=f"The job failed with {type(error).__name__}: {error}; see its log."
        )
        return 0
    voice.say(event="finished", outcome=asdict(outcome))
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())  # no thread of a numerical library may delay the exit
