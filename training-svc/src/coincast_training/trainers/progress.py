"""Report the progress of a task, of a part of it, or of a fetch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from coincast_chassis.resilience.background_tasks import BackgroundTasks
from coincast_training.ports import FetchingSource

FETCH_REPORT_SECONDS = 1.0


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


@asynccontextmanager
async def fetch_reported(
    source: object, progress: Progress, *, every_seconds: float = FETCH_REPORT_SECONDS
) -> AsyncIterator[None]:
    """Report what a source fetches while the block runs; nothing if the source does not say it.

    Args:
        source: The source of the histories.
        progress: Called with the stage whenever it has changed.
        every_seconds: How often the source is asked.
    """
    if not isinstance(source, FetchingSource):
        yield
        return
    async with BackgroundTasks("fetch") as tasks:
        tasks.start("report", _report_fetch(source, progress, every_seconds))
        yield


async def _report_fetch(source: FetchingSource, progress: Progress, every_seconds: float) -> None:
    last = ""
    while True:
        await asyncio.sleep(every_seconds)
        words = await source.fetching()
        if words and words != last:
            progress(0.0, f"fetching {words}")
        last = words
