"""The client of the reaper: writes process groups to its pipe."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys


class ReaperClient:
    """Starts a reaper and lists the process groups that it ends if this process is killed.

    A stack continues without its reaper if that has ended.
    """

    def __init__(self) -> None:
        arguments = [sys.executable, "-m", "coincast_stack.processes.reaper"]
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as stdin:
            self._process = subprocess.Popen(arguments, stdin=stdin, start_new_session=True)
        self._pipe = os.fdopen(writing, "wb", buffering=0)

    def announce(self) -> None:
        """Register the current process group; this runs in a child between fork and exec.

        The child registers itself, since the stack may be killed right after the fork. The line cannot be
        lost: the reaper sees the end of the pipe only after the exec has closed the child's copy.
        """
        # The default action of this signal, which a child has before the exec, would end it without a reaper.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._send(f"+{os.getpid()}\n")
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def remove(self, group: int) -> None:
        """Remove a group that has ended."""
        self._send(f"-{group}\n")

    def close(self) -> None:
        """End the reaper; it ends the groups that are still listed."""
        self._pipe.close()
        self._process.wait(timeout=10)

    def _send(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(line.encode())
