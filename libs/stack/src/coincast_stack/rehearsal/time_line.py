"""The time line of a rehearsal on a terminal."""

from __future__ import annotations

from rich.console import Console

from coincast_stack.rehearsal.record import RehearsalRecord


class TimeLine:
    """Prints each event when it happens, and the failed checks at the end."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def say(self, seconds: float, text: str) -> None:
        """Print one line."""
        self._out.print(f"{seconds:7.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    def summarize(self, record: RehearsalRecord) -> int:
        """Print the number of calls and the failed checks; return the exit code."""
        self._out.print(
            f"plan {record.plan}: {len(record.calls)} calls, {record.busiest_minute} in the busiest minute "
            f"of {record.per_minute} allowed, {record.refused_calls} refused",
            highlight=False,
            soft_wrap=True,
        )
        failures = record.failures()
        for failure in failures:
            self._out.print(f"FAILED  {failure}", style="bold red", markup=False, soft_wrap=True)
        if not failures:
            self._out.print("All checks passed.", style="green")
        return 1 if failures else 0
