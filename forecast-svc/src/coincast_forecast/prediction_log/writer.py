"""Write the log of forecasts and risk answers to Redis, or to a spool on disk while Redis is unavailable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.domain import LedgerCounts
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_forecast.prediction_log.spool import SpoolFolder, orphans, read_segment
from coincast_forecast.prediction_log.stream import Stream, StreamUnavailableError
from coincast_modelkit.ledger import LedgerEntry
from coincast_modelkit.scenarios.statements import RiskStatement

log = get_logger("coincast.forecast.ledger")
# More entries than this are encoded off the event loop.
MAX_INLINE_ENTRIES = 60


class LedgerWriter:
    """Makes entries durable before `append` returns True."""

    def __init__(self, stream: Stream, own: SpoolFolder) -> None:
        self._stream = stream
        self._own = own
        self._root: Path = own.folder.parent
        self._disk = WorkerThread("spool")
        self._up = True
        self._appended = 0

    async def append(self, entries: Sequence[LedgerEntry | RiskStatement]) -> bool:
        """Return True once Redis confirmed every entry or the disk synced it, False where both failed."""
        if len(entries) <= MAX_INLINE_ENTRIES:
            lines = [entry.to_json() for entry in entries]
        else:
            lines = await self._disk.run(lambda: [entry.to_json() for entry in entries])
        if self._up and await self._to_stream(lines):
            return True
        return await self._to_spool(lines)

    def counts(self) -> LedgerCounts:
        """Return how many entries were written and wait on disk, and whether Redis takes entries."""
        return LedgerCounts(self._appended, self._own.waiting, self._up)

    async def drain(self) -> None:
        """Deliver what waits on disk, of this replica and of those that are gone, until Redis fails."""
        if not await self._stream.ping():
            self._set_up(False)
            return
        try:
            await self._deliver(self._own)
            for folder in await self._disk.run(lambda: list(orphans(self._root, [self._own.folder]))):
                try:
                    await self._deliver(folder)
                finally:
                    await self._disk.run(folder.discard)
            self._set_up(True)
        except StreamUnavailableError:
            self._set_up(False)
        except OSError:
            log.exception("spool_unreadable")
        self._update_metrics()

    async def drain_forever(self, every_seconds: float) -> None:
        """Drain periodically; a failure is logged and the next attempt follows."""
        while True:
            try:
                await self.drain()
            except Exception:
                log.exception("spool_drain_failed")
            await asyncio.sleep(every_seconds)

    async def aclose(self) -> None:
        """Release the folder."""
        await self._disk.run(self._own.release)
        self._disk.stop()

    async def _to_stream(self, lines: Sequence[str]) -> bool:
        try:
            await self._stream.add(lines)
        except StreamUnavailableError as error:
            log.warning("redis_unavailable_spooling", error=str(error))
            self._set_up(False)
            return False
        self._appended += len(lines)
        metrics.LEDGER_APPENDED.labels("redis").inc(len(lines))
        return True

    async def _to_spool(self, lines: Sequence[str]) -> bool:
        try:
            await self._disk.run(lambda: self._own.append(lines))
        except (OSError, ThreadStuckError):
            log.exception("log_entries_lost", entries=len(lines))
            metrics.LEDGER_LOST.inc(len(lines))
            return False
        self._appended += len(lines)
        metrics.LEDGER_APPENDED.labels("spool").inc(len(lines))
        self._update_metrics()
        return True

    async def _deliver(self, folder: SpoolFolder) -> None:
        for segment in await self._disk.run(folder.seal):
            lines = await self._disk.run(partial(read_segment, segment))
            if not lines and await self._disk.run(partial(_has_content, segment)):
                continue  # nothing in it is an entry, or it cannot be read: it stays for a person to look at
            await self._stream.add(lines)
            await self._disk.run(partial(folder.remove, segment, len(lines)))
            log.info("spooled_entries_delivered", entries=len(lines))

    def _set_up(self, up: bool) -> None:
        self._up = up
        metrics.LEDGER_UP.set(up)

    def _update_metrics(self) -> None:
        metrics.LEDGER_SPOOLED.set(self._own.waiting)
        metrics.LEDGER_OLDEST.set(self._own.oldest_age_seconds(time.time()))


def _has_content(segment: Path) -> bool:
    return segment.stat().st_size > 0
