"""The stack's end of the pipe to its guardian."""

import subprocess
import sys


class Keeper:
    """Tells the guardian which process groups to end should this process vanish."""

    def __init__(self) -> None:
        arguments = [sys.executable, "-m", "coincast_stack.guardian"]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, start_new_session=True)

    def add(self, group: int) -> None:
        """This group is to be ended with the stack."""
        self._tell(f"+{group}\n")

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
