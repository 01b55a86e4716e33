"""The archive of daily candles: reads from memory where it can, writes through one writer."""

from __future__ import annotations

import asyncio
import fcntl
import io
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import structlog

from coincast_market_data import metrics
from coincast_market_data.archive.inbox_writer import submit_candles
from coincast_market_data.archive.merge import merge_candles
from coincast_market_data.archive.parquet_files import (
    UnreadableArchive,
    read_candles,
    read_extent,
    read_last,
    write_candles,
)
from coincast_market_data.domain import Candle

log = structlog.get_logger(__name__)
Key = tuple[str, str]
LONGEST_UNWRITTEN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Extent:
    """Extent of the archive."""

    coins: int
    candles: int
    first_day: date | None
    last_day: date | None
    size_bytes: int


class Archive:
    """Candles by coin and currency.

    A process that is not the writer hands the candles it fetched to the process that is.
    """

    def __init__(self, root: Path, *, max_coins_in_memory: int = 500) -> None:
        self._root = root
        self._max = max_coins_in_memory
        self._memory: OrderedDict[Key, tuple[Candle, ...]] = OrderedDict()
        self._locks: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._lock_file: io.TextIOWrapper | None = None
        self._versions: dict[Key, int] = {}
        self._revisions: dict[Key, int] = {}
        self._dirty: dict[Key, float] = {}
        self._changes = 0
        self._extents: dict[Key, tuple[int, date, date]] = {}

    def open(self) -> None:
        """Become the writer if no other process is, and look at what is stored.

        Raises:
            OSError: The folder cannot be used.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self.acquire_writer_lock()
        for path in self._root.glob("*/*.parquet"):
            found = read_extent(path)
            if found is not None:
                self._extents[path.stem, path.parent.name] = found
        self._update_metrics()

    def acquire_writer_lock(self) -> bool:
        """Become the writer if no other process is; return whether this process is it."""
        if self._lock_file is not None:
            return True
        handle = (self._root / ".writer.lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        self._lock_file = handle
        return True

    @property
    def is_writer(self) -> bool:
        """Whether this process is the one that writes."""
        return self._lock_file is not None

    @property
    def root(self) -> Path:
        """The folder of the archive."""
        return self._root

    def stored_pairs(self) -> list[Key]:
        """Return the coins and currencies of which anything is stored, in order of names."""
        return sorted(self._extents)

    def currencies(self, coin: str) -> set[str]:
        """Return the currencies in which a coin is stored."""
        return {currency for name, currency in self._extents if name == coin}

    def close(self) -> None:
        """Release the writer's lock."""
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    async def read(self, coin: str, currency: str) -> Sequence[Candle]:
        """Return all candles of a coin, oldest first."""
        key = (coin, currency)
        found = self._memory.get(key)
        if found is None or self._changed_outside(key):
            self._versions[key] = self._version(key)
            stored = await asyncio.to_thread(self._load, key)
            found = tuple(merge_candles(stored, found)[0]) if found else stored
            self._remember(key, found)
        self._memory.move_to_end(key)
        return found

    def holds(self, coin: str, currency: str) -> bool:
        """Return whether anything of the coin is stored."""
        return (coin, currency) in self._extents

    async def last_closes(self, pairs: Iterable[Key]) -> dict[Key, tuple[date, float]]:
        """Return the newest stored day and its close for those pairs that are stored."""
        found: dict[Key, tuple[date, float]] = {}
        below: list[Key] = []
        for key in pairs:
            if candles := self._memory.get(key):
                found[key] = (candles[-1].day, candles[-1].close)
            elif key in self._extents:
                below.append(key)
        if below:
            paths = [self._path(key) for key in below]
            read = await asyncio.to_thread(lambda: [read_last(path) for path in paths])
            found |= {key: last for key, last in zip(below, read, strict=True) if last is not None}
        return found

    def revision(self, coin: str, currency: str) -> int:
        """Return a number that changes whenever the result of `read` changes."""
        return self._revisions.get((coin, currency), 0)

    def _changed_outside(self, key: Key) -> bool:
        """Return whether another process, the writer, has replaced the file since it was read."""
        return not self.is_writer and self._version(key) != self._versions.get(key, 0)

    def _version(self, key: Key) -> int:
        try:
            return self._path(key).stat().st_mtime_ns
        except OSError:
            return 0

    async def add(self, coin: str, currency: str, candles: Iterable[Candle], *, flush: bool = True) -> int:
        """Merge candles in; returns how many days are new or richer.

        Without `flush` the file follows when it was last written some seconds ago, or at `flush`.
        """
        key = (coin, currency)
        async with self._locks[key]:
            merged, changed = merge_candles(await self.read(coin, currency), candles)
            if changed:
                self._remember(key, tuple(merged))
                self._measure(key, merged)
                self._update_metrics()
                self._dirty.setdefault(key, time.monotonic())
        if flush or time.monotonic() - self._dirty.get(key, time.monotonic()) > LONGEST_UNWRITTEN_SECONDS:
            await self.flush(coin, currency)
        return changed

    async def replace(self, coin: str, currency: str, candles: Sequence[Candle], at: float) -> int:
        """Replace the stored history, which is saved as a revision.

        Args:
            coin: Canonical id.
            currency: Canonical code.
            candles: The whole new history, in order of days.
            at: When it was replaced, UNIX seconds; names the revision.

        Returns:
            How many days differ.
        """
        key = (coin, currency)
        async with self._locks[key]:
            before = await self.read(coin, currency)
            old, new = {c.day: c for c in before}, {c.day: c for c in candles}
            changed = sum(old.get(day) != new.get(day) for day in {*old, *new})
            if changed:
                if before and self.is_writer:
                    # Two replacements within a second are two revisions.
                    stamp = max([int(at), *(known + 1 for known in self.revision_times(coin, currency)[-1:])])
                    path = self._revisions_folder(key) / f"{stamp}.parquet"
                    await asyncio.to_thread(write_candles, path, before)
                self._remember(key, tuple(candles))
                self._measure(key, candles)
                self._update_metrics()
                self._dirty.pop(key, None)
                await self._write(key, candles)
        return changed

    async def read_known_at(self, coin: str, currency: str, at: float) -> Sequence[Candle]:
        """Return the history as it was stored at a moment (UNIX seconds), restatements undone."""
        later = [stamp for stamp in self.revision_times(coin, currency) if stamp > at]
        if not later:
            return await self.read(coin, currency)
        path = self._revisions_folder((coin, currency)) / f"{min(later)}.parquet"
        return await asyncio.to_thread(read_candles, path)

    def revision_times(self, coin: str, currency: str) -> list[int]:
        """Return when the history was replaced, UNIX seconds, oldest first."""
        names = (path.stem for path in self._revisions_folder((coin, currency)).glob("*.parquet"))
        return sorted(int(name) for name in names if name.isdigit())

    def _revisions_folder(self, key: Key) -> Path:
        return self._root / "revisions" / key[1] / key[0]

    async def flush(self, coin: str, currency: str) -> None:
        """Write added candles to the disk."""
        key = (coin, currency)
        async with self._locks[key]:
            if self._dirty.pop(key, None) is not None:
                await self._write(key, await self.read(coin, currency))

    def extent(self) -> Extent:
        """Return what is stored, for the status."""
        rows = self._extents.values()
        size = sum(path.stat().st_size for path in self._root.glob("*/*.parquet"))
        return Extent(
            len(self._extents),
            sum(count for count, _, _ in rows),
            min((first for _, first, _ in rows), default=None),
            max((last for _, _, last in rows), default=None),
            size,
        )

    def _path(self, key: Key) -> Path:
        return self._root / key[1] / f"{key[0]}.parquet"

    def _load(self, key: Key) -> tuple[Candle, ...]:
        path = self._path(key)
        try:
            return tuple(read_candles(path))
        except UnreadableArchive as error:
            # Kept for a person to look at; the days are fetched again.
            log.warning("archive_file_set_aside", path=str(path), reason=str(error))
            metrics.ARCHIVE_WRITES.labels(outcome="unreadable").inc()
            if self.is_writer:
                path.replace(path.with_suffix(".unreadable"))
            return ()

    async def _write(self, key: Key, candles: Sequence[Candle]) -> None:
        try:
            if self.is_writer:
                await asyncio.to_thread(write_candles, self._path(key), candles)
            else:
                # The one writer takes it from there.
                await asyncio.to_thread(submit_candles, self._root, *key, candles)
        except OSError as error:
            # A full disk costs the archive, not the reply: what was fetched is served from memory.
            log.warning("archive_not_written", coin=key[0], reason=str(error))
            metrics.ARCHIVE_WRITES.labels(outcome="failed").inc()
        else:
            metrics.ARCHIVE_WRITES.labels(outcome="ok").inc()

    def _remember(self, key: Key, candles: tuple[Candle, ...]) -> None:
        self._changes += 1
        self._revisions[key] = self._changes
        self._memory[key] = candles
        self._memory.move_to_end(key)
        if len(self._memory) > self._max and (dropped := self._oldest_written()) is not None:
            self._memory.pop(dropped)
            self._versions.pop(dropped, None)
            self._revisions.pop(dropped, None)

    def _oldest_written(self) -> Key | None:
        return next((key for key in self._memory if key not in self._dirty), None)

    def _measure(self, key: Key, candles: Sequence[Candle]) -> None:
        if candles:
            self._extents[key] = (len(candles), candles[0].day, candles[-1].day)

    def _update_metrics(self) -> None:
        metrics.ARCHIVE_COINS.set(len(self._extents))
        metrics.ARCHIVE_CANDLES.set(sum(count for count, _, _ in self._extents.values()))
