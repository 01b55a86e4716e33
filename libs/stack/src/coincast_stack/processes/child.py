"""One process of the stack: started in a group of its own, logged to a file, stopped with everything it
started.
"""

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
    ) -> "Child":
        """Starts it; the output is appended to `<log_dir>/<name>.log`."""
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
        """The name for people."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group as well."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Waits for its end."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to it alone; nothing where it has ended."""
        if self.exit_code is None:
            os.kill(self.pid, number)

    async def stop(self, grace_seconds: float) -> None:
        """Asks it to end, waits, then ends its whole group by force; returns once it is gone."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        await self.kill()

    async def kill(self) -> None:
        """Ends the process and everything in its group at once."""
        signal_group(self.pid, signal.SIGKILL)
        await self._process.wait()
        self._reaper.remove(self.pid)

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """The end of its log."""
        with self.log_file.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-count:]
