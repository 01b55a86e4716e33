"""Maintenance of the data volume while the service runs: submitted candles, the log of data faults."""

from __future__ import annotations

import asyncio

from coincast_market_data.archive.inbox import Inbox
from coincast_market_data.archive.store import Archive
from coincast_market_data.jobs.refresh import every
from coincast_market_data.validation.quality_log import QualityLog

INBOX_SECONDS = 1.0
QUALITY_SECONDS = 2.0
# A writer that died leaves its place to another replica within so long.
PLACE_SECONDS = 5.0


class MaintenanceJobs:
    """Loops that end with the service; the last findings are saved when they do."""

    def __init__(self, archive: Archive, inbox: Inbox, quality: QualityLog) -> None:
        self._archive = archive
        self._inbox = inbox
        self._quality = quality
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, once."""
        if not self._tasks:
            steps = (
                (INBOX_SECONDS, self._inbox.take),
                (QUALITY_SECONDS, self._quality.save),
                (PLACE_SECONDS, self._take_place),
            )
            self._tasks = [asyncio.create_task(every(seconds, step)) for seconds, step in steps]

    async def _take_place(self) -> None:
        self._archive.acquire_writer_lock()

    async def aclose(self) -> None:
        """End the loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._quality.save()
