"""The stack's end of the pipe to the reaper."""

from __future__ import annotations

import os
import subprocess
import sys


class ReaperClient:
    """Tells the reaper which process groups to end if this process is killed."""

    def __init__(self) -> None:
        arguments = [sys.executable, "-m", "coincast_stack.processes.reaper"]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, start_new_session=True)

    def announce(self) -> None:
        """Register this process group; runs in a child between fork and exec.

        The child writes it itself, since the stack may be killed right after the fork; the reaper
        sees the pipe's end only once the child's copy is closed as well, by the exec.
        """
        if self._process.stdin is not None:
            os.write(self._process.stdin.fileno(), f"+{os.getpid()}\n".encode())

    def remove(self, group: int) -> None:
        """Remove a group that has ended."""
        self._send(f"-{group}\n")

    def close(self) -> None:
        """End the reaper; groups that are still listed end with it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=10)

    def _send(self, line: str) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
