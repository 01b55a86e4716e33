"""Report the progress of a task or of a part of it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback for progress: a fraction from 0 to 1, and a short text."""

    def __call__(self, fraction: float, stage: str) -> None:
        """Report the progress."""
        ...


def part_of(progress: Progress, start: float, stop: float) -> Progress:
    """Return a callback for a part of a task: its fractions 0 to 1 are `start` to `stop` of the task."""

    def inner(fraction: float, stage: str) -> None:
        progress(start + (stop - start) * min(max(fraction, 0.0), 1.0), stage)

    return inner
