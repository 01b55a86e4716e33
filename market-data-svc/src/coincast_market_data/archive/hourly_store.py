"""The archive of hourly candles, beside the daily one and with the same writer.

The files are `hourly/<currency>/<coin>.parquet` below the folder of the archive. They have the start of each
hour in UNIX seconds and, if it is known, the time of its arrival. If hours are dropped as false, the former
file is stored as a revision, `hourly/revisions/<currency>/<coin>/<UNIX seconds>.parquet`. A replica that is
not the writer holds the hours that it fetched in memory only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from cachetools import LRUCache

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import set_aside
from coincast_market_data import metrics
from coincast_market_data.archive.revisions import PastCandles, Revisions, UnreadableArchive
from coincast_market_data.archive.store import (
    ARRIVAL,
    FIRST_DAY,
    FIRST_FETCH_SECONDS,
    LAST_DAY,
    LONGEST_UNWRITTEN_SECONDS,
    Archive,
    read_table,
    strays,
)
from coincast_market_data.domain import HourlyCandle
from coincast_market_data.history.candle_builder import HOUR_SECONDS
from coincast_market_data.validation.outliers import is_outlier
from coincast_modelkit.durable_files import replacing

log = structlog.get_logger(__name__)
NUMBERS = ("open", "high", "low", "close", "volume")
# Older files lack the last column, the time of arrival, which is then unknown.
SCHEMA = pa.schema(
    [("start", pa.int64()), *((name, pa.float64()) for name in NUMBERS), (ARRIVAL, pa.int64())]
)
MAX_COINS_IN_MEMORY = 100
# The number of coins of which the start of the first fetch is remembered.
MAX_FIRST_FETCHES = 1000
DAY_SECONDS = 86_400
Key = tuple[str, str]


class HourlyArchive:
    """Hourly candles by coin and currency.

    Args:
        archive: The daily archive, whose folder and writer lock are used.
        retention_days: How many days hours are stored; 0 means no limit.
    """

    def __init__(self, archive: Archive, *, retention_days: int) -> None:
        self._archive = archive
        self._revisions = Revisions(archive.root / "hourly" / "revisions", strays)
        self._retention_seconds = retention_days * DAY_SECONDS
        self._memory: LRUCache[Key, tuple[HourlyCandle, ...]] = LRUCache(MAX_COINS_IN_MEMORY)
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        # Hours that are not in a file yet, with the monotonic time since when. They are not in `_memory`
        # alone, which may evict a coin.
        self._unwritten: dict[Key, tuple[float, tuple[HourlyCandle, ...]]] = {}
        self._first_fetches: LRUCache[Key, float] = LRUCache(MAX_FIRST_FETCHES)

    def _lock(self, key: Key) -> asyncio.Lock:
        """Return the lock of a coin; it is dropped when it is no longer used."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def read(self, coin: str, currency: str) -> Sequence[HourlyCandle]:
        """Return all stored hours of a coin, oldest first."""
        key = (coin, currency)
        if key in self._unwritten:
            return self._unwritten[key][1]
        found = self._memory.get(key)
        if found is None:
            found = self._memory[key] = await asyncio.to_thread(self._load, key)
        return found

    async def add(
        self,
        coin: str,
        currency: str,
        candles: Iterable[HourlyCandle],
        newest: int,
        *,
        confirmed: bool = False,
        flush: bool = True,
        at: float | None = None,
    ) -> int:
        """Merge hours into the stored ones, drop those past retention, and return how many are new.

        A stored hour never changes. An hour that differs tenfold from the newest one of the 24 hours before
        it is left out, unless it is confirmed.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            candles: Hours in order of time.
            newest: The start of the newest closed hour, UNIX seconds; retention counts back from it.
            confirmed: Whether a second fetch confirmed the tenfold moves among the hours.
            flush: Whether to write the file now. Otherwise it is written by `flush`, or by a call two seconds
                after the first unwritten change; a backfill would else write all hours of a coin with each
                call.
            at: When the hours arrived, UNIX seconds; None if that does not say when they became known, as for
                imported files. The first fetch of a coin brings its past, so the time is only stored for
                later fetches, and for hours after the first stored one.
        """
        key = (coin, currency)
        async with self._lock(key):
            before = await self.read(coin, currency)
            if not before and at is not None:
                self._first_fetches[key] = at
            began = self._first_fetches.get(key)
            if at is not None and began is not None and 0 <= at - began < FIRST_FETCH_SECONDS:
                at = None
            hours = {candle.start: candle for candle in before}
            for candle in candles:
                if candle.start in hours:
                    continue
                back = range(HOUR_SECONDS, DAY_SECONDS + 1, HOUR_SECONDS)
                near = (hours.get(candle.start - seconds) for seconds in back)
                neighbour = next((hour for hour in near if hour is not None), None)
                if not confirmed and neighbour is not None and is_outlier(candle.close, neighbour.close):
                    continue
                has_arrival = at is not None and bool(before) and candle.start > before[0].start
                hours[candle.start] = replace(candle, received_at=at) if has_arrival else candle
            oldest = newest - self._retention_seconds if self._retention_seconds else 0
            merged = tuple(hours[start] for start in sorted(hours) if start > oldest)
            added = len(hours) - len(before)
            await self._store(key, merged, before, flush=flush)
            return added

    async def flush(self, coin: str, currency: str) -> None:
        """Write added hours to the disk."""
        async with self._lock((coin, currency)):
            await self._write_pending((coin, currency))

    async def remove(self, coin: str, currency: str, starts: Collection[int], at: float) -> int:
        """Drop false hours, save the former hours as a revision, and return how many were dropped.

        If the disk fails, there is no revision, and the hours are dropped all the same.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            starts: The starts of the false hours, UNIX seconds.
            at: The time of the change, UNIX seconds, which names the revision.
        """
        key = (coin, currency)
        async with self._lock(key):
            before = await self.read(coin, currency)
            left = tuple(candle for candle in before if candle.start not in starts)
            if len(left) < len(before) and self._archive.is_writer:
                try:
                    path = self._revisions.new_path(coin, currency, at)
                    await asyncio.to_thread(write_hours, path, before)
                except OSError as error:
                    log.warning("revision_not_written", coin=coin, reason=without_path(error))
                    metrics.ARCHIVE_WRITES.labels(outcome="failed").inc()
            await self._store(key, left, before, flush=True)
            return len(before) - len(left)

    async def read_known_at(self, coin: str, currency: str, at: float) -> PastCandles[HourlyCandle]:
        """Return the hours without the changes after a moment, so with hours that were dropped later.

        Hours that arrived after the moment are included; the caller leaves them out by `received_at`.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            at: The moment, UNIX seconds.
        """
        newest = await self.read(coin, currency)
        return await asyncio.to_thread(
            self._revisions.read_known_at, coin, currency, at, read=read_hours, newest=newest
        )

    async def _store(
        self, key: Key, candles: tuple[HourlyCandle, ...], before: Sequence[HourlyCandle], *, flush: bool
    ) -> None:
        if candles != tuple(before):
            since = self._unwritten[key][0] if key in self._unwritten else time.monotonic()
            self._memory[key] = candles
            self._unwritten[key] = since, candles
        elif key not in self._unwritten:
            return
        if flush or time.monotonic() - self._unwritten[key][0] > LONGEST_UNWRITTEN_SECONDS:
            await self._write_pending(key)

    async def _write_pending(self, key: Key) -> None:
        if key in self._unwritten:
            _, candles = self._unwritten.pop(key)
            await self._write(key, candles)

    async def _write(self, key: Key, candles: Sequence[HourlyCandle]) -> None:
        if not self._archive.is_writer:
            return
        try:
            await asyncio.to_thread(write_hours, self._path(key), candles)
        except OSError as error:
            # If the disk is full, replies are served from memory and only the archive is incomplete.
            log.warning("hourly_archive_write_failed", coin=key[0], reason=without_path(error))
            metrics.ARCHIVE_WRITES.labels(outcome="failed").inc()
        else:
            metrics.ARCHIVE_WRITES.labels(outcome="ok").inc()

    def _load(self, key: Key) -> tuple[HourlyCandle, ...]:
        path = self._path(key)
        try:
            return tuple(read_hours(path))
        except UnreadableArchive as error:
            # The file is renamed for inspection, and the hours are fetched again.
            strays.name(path, f"hours: {error}")
            metrics.ARCHIVE_WRITES.labels(outcome="unreadable").inc()
            if self._archive.is_writer:
                set_aside(path)
            return ()

    def _path(self, key: Key) -> Path:
        return self._archive.root / "hourly" / key[1] / f"{key[0]}.parquet"


def read_hours(path: Path) -> list[HourlyCandle]:
    """Return the hours of a file, oldest first; none if the file does not exist.

    Rows that cannot be hours are dropped, and named once.

    Raises:
        UnreadableArchive: The file cannot be read; the message does not have its path.
    """
    table = read_table(
        path, SCHEMA, "start", least=FIRST_DAY * DAY_SECONDS, most=LAST_DAY * DAY_SECONDS, step=HOUR_SECONDS
    )
    columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    return [
        HourlyCandle(start, close, open=opened, high=high, low=low, volume=volume, received_at=received_at)
        for start, opened, high, low, close, volume, received_at in zip(*columns, strict=True)
    ]


def write_hours(path: Path, candles: Sequence[HourlyCandle]) -> None:
    """Replace the file of a coin atomically; after a crash it is the old one or the new one.

    Args:
        path: The Parquet file.
        candles: All hours of the coin, oldest first.

    Raises:
        OSError: The file could not be written; the old one stays.
    """
    columns = {name: [getattr(candle, name) for candle in candles] for name in ("start", *NUMBERS)}
    # Whole seconds, equal for all hours of a fetch, so that they compress well.
    columns[ARRIVAL] = [None if c.received_at is None else int(c.received_at) for c in candles]
    table = pa.table(columns, schema=SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        pq.write_table(table, file, compression="zstd")
