"""The stack's end of the pipe to its guardian."""

import os
import subprocess
import sys


class ReaperClient:
    """Tells the guardian which process groups to end should this process vanish."""

    def __init__(self) -> None:
        arguments = [sys.executable, "-m", "coincast_stack.processes.reaper"]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, start_new_session=True)

    def announce(self) -> None:
        """Run in a child between fork and exec: this group is to be ended with the stack.

        The child tells it itself, since the stack may be killed right after the fork; the guardian
        sees the pipe's end only once the child's copy is closed as well, by the exec.
        """
        if self._process.stdin is not None:
            os.write(self._process.stdin.fileno(), f"+{os.getpid()}\n".encode())

    def remove(self, group: int) -> None:
        """This group is gone already."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Ends the guardian; groups that are still listed end with it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=10)

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
