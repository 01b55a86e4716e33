"""Telling how far a piece of work has come, and a part of a longer one."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears how far a piece of work has come: a fraction from 0 to 1 and a few words."""

    def __call__(self, fraction: float, stage: str) -> None:
        """Hears it."""
        ...


def part_of(progress: Progress, start: float, stop: float) -> Progress:
    """A progress from 0 to 1 that moves the whole from `start` to `stop`."""

    def inner(fraction: float, stage: str) -> None:
        progress(start + (stop - start) * min(max(fraction, 0.0), 1.0), stage)

    return inner
