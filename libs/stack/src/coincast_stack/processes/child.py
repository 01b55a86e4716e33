"""One process of the stack, in a process group of its own, so that it is stopped with all its children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coincast_stack.processes.reaper import signal_group
from coincast_stack.processes.reaper_client import ReaperClient

LAST_LINES = 15
TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: a name for people, the arguments, and what joins the environment."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A command that runs, or ran."""

    def __init__(
        self, command: Command, log_file: Path, process: asyncio.subprocess.Process, reaper: ReaperClient
    ) -> None:
        self.command = command
        self.log_file = log_file
        self._process = process
        self._reaper = reaper

    @classmethod
    async def start(
        cls, command: Command, log_dir: Path, reaper: ReaperClient, base: Mapping[str, str]
    ) -> Child:
        """Start a command; its output is appended to `<log_dir>/<name>.log`."""
        log_file = log_dir / f"{command.name}.log"
        with log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command.arguments,
                env={**base, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=reaper.announce,
            )
        return cls(command, log_file, process, reaper)

    @property
    def name(self) -> str:
        """Return the name for people."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Return its process id, which is that of its group as well."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end; return the exit code."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, unless it has ended."""
        if self.exit_code is None:
            os.kill(self.pid, number)

    async def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM, wait up to `grace_seconds`, then kill the whole group."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        await self.kill()

    async def kill(self) -> None:
        """Kill the process and everything in its group."""
        signal_group(self.pid, signal.SIGKILL)
        await self._process.wait()
        self._reaper.remove(self.pid)

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """Return the last lines of its log."""
        with self.log_file.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-count:]
