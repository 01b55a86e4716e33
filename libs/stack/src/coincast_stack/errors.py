"""Errors of a stack, with messages for the person at the terminal."""

from __future__ import annotations

# Exit code of a service that cannot start until a setting or the machine is changed.
SETUP_EXIT_CODE = 2


class StackError(Exception):
    """The stack cannot start or continue; the message is one line.

    `exit_code` is 2 if the caller must change something, else 1.
    """

    exit_code = 1


class SetupError(StackError):
    """The caller must change something first: a port, a folder, a file, a setting."""

    exit_code = 2


class ChildDeathError(StackError):
    """A process of the stack ended unexpectedly; the error holds its last log lines."""

    def __init__(self, name: str, code: int, last_lines: list[str]) -> None:
        super().__init__(f"{name} ended with exit code {code}")
        self.name = name
        self.code = code
        self.last_lines = last_lines
        if code == SETUP_EXIT_CODE:
            self.exit_code = SETUP_EXIT_CODE

    def __str__(self) -> str:
        if self.code == SETUP_EXIT_CODE and self.last_lines:
            return self.last_lines[-1]
        lines = "".join(f"\n    {line}" for line in self.last_lines)
        return f"{self.args[0]}; its last log lines:{lines or ' (none)'}"
