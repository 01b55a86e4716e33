"""Run a job in another process: the event loop stays free, and cancelling ends the job immediately."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_training.domain import Job, Outcome
from coincast_training.jobs.ports import Event, Failed, Finished, LogEvent, ProgressEvent
from coincast_training.jobs.serialization import job_to_dict

LINE_LIMIT = 1 << 20
GRACE_SECONDS = 3.0
MODULE = "coincast_training.jobs.worker_main"


class ProcessRunner:
    """Run jobs in child processes, which exchange JSON lines with this one.

    The child reads the job and the settings from stdin and writes events to stdout. Its stderr becomes the
    log of the job.
    """

    def __init__(self, settings: dict[str, Any], *, module: str = MODULE) -> None:
        self._settings, self._module = settings, module

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Yield the events of the job, until its process has ended."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
        events: asyncio.Queue[Event | None] = asyncio.Queue(maxsize=1000)
        readers = asyncio.create_task(_read_both(process, events))
        try:
            await self._send(process, job)
            while (event := await events.get()) is not None:
                yield event
            await process.wait()
            if process.returncode:
                yield Failed(_describe_exit(process.returncode))
        finally:
            await _end(process)
            await cancel_and_wait({readers})

    async def _send(self, process: asyncio.subprocess.Process, job: Job) -> None:
        """Send the job as one line.

        The pipe stays open: if it closes, the child knows that this process died.
        """
        assert process.stdin is not None  # noqa: S101 - opened as a pipe above
        line = json.dumps({"job": job_to_dict(job), "settings": self._settings})
        # If the child has already exited, its exit code and its log say why. uvloop raises RuntimeError in
        # this case.
        with suppress(ConnectionError, RuntimeError):
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()


async def _read_both(process: asyncio.subprocess.Process, events: asyncio.Queue[Event | None]) -> None:
    assert process.stdout is not None  # noqa: S101 - opened as pipes above
    assert process.stderr is not None  # noqa: S101
    await asyncio.gather(_read(process.stdout, events, parse), _read(process.stderr, events, LogEvent))
    await events.put(None)


async def _read(stream: asyncio.StreamReader, events: asyncio.Queue[Event | None], convert: Any) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # a line beyond the limit; the stream has discarded it
            continue
        if not line:
            return
        if text := line.decode(errors="replace").rstrip():
            await events.put(convert(text))


def parse(line: str) -> Event:
    """Parse one line of the stdout of the child; a line that is not an event becomes a line of the log."""
    try:
        match json.loads(line):
            case {"event": "progress", "fraction": fraction, "stage": stage}:
                return ProgressEvent(float(fraction), str(stage))
            case {"event": "finished", "outcome": outcome}:
                return Finished(Outcome(**outcome))
            case {"event": "failed", "message": message}:
                return Failed(str(message))
    except (ValueError, TypeError):
        pass
    return LogEvent(line)


def _describe_exit(returncode: int) -> str:
    if returncode < 0:
        return f"The job's process was ended by {signal.Signals(-returncode).name}; see its log."
    return f"The job's process ended with code {returncode}; see its log."


async def _end(process: asyncio.subprocess.Process) -> None:
    """Terminate the child and its process group; kill it if it does not stop in time."""
    _signal_group(process.pid, signal.SIGTERM)
    if process.returncode is None:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
