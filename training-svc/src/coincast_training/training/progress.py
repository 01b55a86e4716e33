"""A part of a longer piece of work tells its own progress."""

from __future__ import annotations

from coincast_training.fitting.base import Progress


def part_of(progress: Progress, start: float, stop: float) -> Progress:
    """A progress from 0 to 1 that moves the whole from `start` to `stop`."""

    def inner(fraction: float, stage: str) -> None:
        progress(start + (stop - start) * min(max(fraction, 0.0), 1.0), stage)

    return inner
