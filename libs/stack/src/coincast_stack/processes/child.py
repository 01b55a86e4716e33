"""A child process in its own process group, so that it is stopped together with its own children."""

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
    """A command: display name, arguments, and additional environment variables."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def writable_log(path: Path) -> Path:
    """Return the path of a log, whose folder is created if it is absent.

    If a folder or a pipe has the name of the log, the null device is returned: the process must start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    usable = path.is_file() or not (path.exists() or path.is_symlink())
    return path if usable else Path(os.devnull)


class Child:
    """The process of a command; it may have ended."""

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
        """Start a command; its output is appended to `<log_dir>/<name>.log`.

        Args:
            command: The command.
            log_dir: Folder of logs.
            reaper: Ends the process if the stack is killed.
            base: Environment to which that of the command is added.
        """
        log_file = log_dir / f"{command.name}.log"
        with writable_log(log_file).open("ab") as log:
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
        """Return the display name."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Return the process id, which is also the id of the process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code; None while the process runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the process has ended; return the exit code."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, not to its group, unless it has ended."""
        if self.exit_code is None:
            # The exit code is set some time after the end of the process.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM to the process, wait up to `grace_seconds`, then kill the group."""
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
        """Return the last lines of the log; none if it was removed or cannot be read."""
        if not self.log_file.is_file():
            return []
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()[-count:]
        except OSError:
            return []
