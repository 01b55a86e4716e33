"""Maintenance of the archive folder: inbox, data-quality log and writer lock."""

from __future__ import annotations

import asyncio

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_market_data.archive.inbox import Inbox
from coincast_market_data.archive.store import Archive
from coincast_market_data.jobs.refresh import every
from coincast_market_data.validation.quality_log import QualityLog

INBOX_SECONDS = 1.0
QUALITY_SECONDS = 2.0
# How often a replica tries to become the writer of the archive, in case the writer has died.
WRITER_SECONDS = 5.0


class MaintenanceJobs:
    """Periodic jobs, which end with the service; the data-quality log is saved at the end."""

    def __init__(self, archive: Archive, inbox: Inbox, quality: QualityLog) -> None:
        self._archive = archive
        self._inbox = inbox
        self._quality = quality
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the jobs; a second call does nothing."""
        if not self._tasks:
            steps = (
                (INBOX_SECONDS, self._inbox.take),
                (QUALITY_SECONDS, self._quality.save),
                (WRITER_SECONDS, self._acquire_writer_lock),
            )
            self._tasks = [asyncio.create_task(every(seconds, step)) for seconds, step in steps]

    async def _acquire_writer_lock(self) -> None:
        self._archive.acquire_writer_lock()

    async def aclose(self) -> None:
        """Stop the jobs and save the data-quality log."""
        await cancel_and_wait(list(self._tasks))
        await self._quality.save()
