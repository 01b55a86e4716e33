"""Report the progress of a piece of work, or of a part of it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback for progress: a fraction from 0 to 1 and a few words."""

    def __call__(self, fraction: float, stage: str) -> None:
        """Report the progress."""
        ...


def part_of(progress: Progress, start: float, stop: float) -> Progress:
    """Return a callback whose 0 to 1 moves the whole from `start` to `stop`."""

    def inner(fraction: float, stage: str) -> None:
        progress(start + (stop - start) * min(max(fraction, 0.0), 1.0), stage)

    return inner
