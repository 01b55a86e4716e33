"""The client of the reaper: writes process groups to its pipe."""

from __future__ import annotations

import os
import subprocess
import sys


class ReaperClient:
    """Starts a reaper and lists the process groups that it ends if this process is killed."""

    def __init__(self) -> None:
        arguments = [sys.executable, "-m", "coincast_stack.processes.reaper"]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, start_new_session=True)

    def announce(self) -> None:
        """Register the current process group; this runs in a child between fork and exec.

        The child registers itself, since the stack may be killed right after the fork. The line cannot be
        lost: the reaper sees the end of the pipe only after the exec has closed the child's copy.
        """
        if self._process.stdin is not None:
            os.write(self._process.stdin.fileno(), f"+{os.getpid()}\n".encode())

    def remove(self, group: int) -> None:
        """Remove a group that has ended."""
        self._send(f"-{group}\n")

    def close(self) -> None:
        """End the reaper; it ends the groups that are still listed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=10)

    def _send(self, line: str) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
