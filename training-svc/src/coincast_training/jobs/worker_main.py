"""The process of one job: reads it from stdin, trains, and tells events as JSON lines."""

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
from coincast_training.pipeline.factory import open_run
from coincast_training.settings import Settings

LEAST_PAUSE_SECONDS = 0.2
# Training can wait; whoever asks for a price or a forecast cannot.
NICENESS = 5


class EventWriter:
    """Writes events where the parent reads them; progress at most five times a second."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._lock = out, threading.Lock()
        self._last_at, self._last_stage = 0.0, ""

    def say(self, **event: Any) -> None:
        """One event, one line."""
        with self._lock:
            self._out.write(json.dumps(event) + "\n")
            self._out.flush()

    def progress(self, fraction: float, stage: str) -> None:
        """Tells how far the job is."""
        now = time.monotonic()
        if stage != self._last_stage or now - self._last_at > LEAST_PAUSE_SECONDS:
            self._last_at, self._last_stage = now, stage
            self.say(event="progress", fraction=fraction, stage=stage)


def main() -> int:
    """Runs the job on stdin; 0 where it told how it ended."""
    os.nice(NICENESS)
    voice = EventWriter(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # whatever a library prints belongs to the log
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return asyncio.run(_run(order, voice))


def _end_with_parent() -> None:
    """The parent's end of stdin closes only when the parent is gone; an orphan must not go on writing."""
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
    except Exception as error:  # the trace belongs to the log, a sentence to the job
        logging.getLogger(__name__).exception("the job broke")
        voice.say(event="failed", message=f"It broke with {type(error).__name__}: {error}; see its log.")
        return 0
    voice.say(event="finished", outcome=asdict(outcome))
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())  # no thread of a numerical library may hold the process back
