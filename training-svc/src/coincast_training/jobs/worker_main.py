"""The process of one job: read the job from stdin, train, and write events as JSON lines to stdout."""

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
from coincast_chassis.observability.error_text import without_path
from coincast_training.jobs.serialization import spec_from_dict
from coincast_training.optional_imports import import_lightgbm_alone
from coincast_training.pipeline.factory import open_run
from coincast_training.settings import Settings

LEAST_PAUSE_SECONDS = 0.2
# A lower priority than that of the services, whose requests for prices and forecasts must not wait for a
# training.
NICENESS = 5


class EventWriter:
    """Write events to the parent process; report the progress of one stage at most five times a second."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._lock = out, threading.Lock()
        self._last_at, self._last_stage = 0.0, ""

    def say(self, **event: Any) -> None:
        """Write one event as a JSON line."""
        with self._lock:
            self._out.write(json.dumps(event) + "\n")
            self._out.flush()

    def progress(self, fraction: float, stage: str) -> None:
        """Report the progress of the job."""
        now = time.monotonic()
        if stage != self._last_stage or now - self._last_at > LEAST_PAUSE_SECONDS:
            self._last_at, self._last_stage = now, stage
            self.say(event="progress", fraction=fraction, stage=stage)


def main() -> int:
    """Read the job from stdin, run it, and return the exit code, 0 if a result or an error was reported."""
    os.nice(NICENESS)
    events = EventWriter(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # all output of libraries goes to the log
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    request = json.loads(sys.stdin.readline())
    import_lightgbm_alone()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return asyncio.run(_run(request, events))


def _end_with_parent() -> None:
    """Wait until the parent closes stdin, and end this process.

    The parent keeps stdin open while it runs. Without a parent, the job must not continue to write.
    """
    sys.stdin.read()
    os._exit(4)


async def _run(request: dict[str, Any], events: EventWriter) -> int:
    job = request["job"]
    try:
        async with open_run(Settings(**request["settings"]), job["spec"]["model"]) as pipeline:
            outcome = await pipeline.run(
                spec_from_dict(job["spec"]),
                requested_by=job["requested_by"],
                run_id=job["job_id"],
                progress=events.progress,
            )
    except CoincastError as error:
        events.say(event="failed", message=error.message)
        return 0
    except Exception as error:  # the log has the traceback, the job one sentence
        logging.getLogger(__name__).exception("the job failed")
        events.say(
            event="failed",
            message=f"The job failed with {type(error).__name__}: {without_path(error)}; see its log.",
        )
        return 0
    events.say(event="finished", outcome=asdict(outcome))
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())  # no thread of a numerical library may delay the exit
