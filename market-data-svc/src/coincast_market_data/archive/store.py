"""The archive of daily candles: one Parquet file per coin, cached in memory and written by one process.

A file is written beside the old one and moved into its place, so that readers never see a part of it. A
process that is not the writer submits candles to the writer, as a folder that is moved into its inbox.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import math
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from weakref import WeakValueDictionary

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from cachetools import LRUCache

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import StrayLog, check_plain_file, set_aside
from coincast_market_data import metrics
from coincast_market_data.archive.revisions import PastCandles, Revisions, UnreadableArchive
from coincast_market_data.archive.stored_rows import valid_rows
from coincast_market_data.domain import Candle
from coincast_market_data.identifiers import is_canonical
from coincast_modelkit.durable_files import replacing

INBOX = ".inbox"
WRITER_LOCK = ".writer.lock"
ORDER = "order.json"


def submit_files(root: Path, files: Sequence[Path], currency: str) -> Path:
    """Copy a user's files into the inbox.

    Args:
        root: The folder of the archive.
        files: The files to import.
        currency: The currency of their prices.

    Returns:
        The folder of the order, in which the writer stores its report.
    """

    def fill(folder: Path) -> None:
        for path in files:
            shutil.copyfile(path, folder / path.name)

    return _submit(root, currency, fill, wants_report=True)


def submit_candles(root: Path, coin: str, currency: str, candles: Sequence[Candle]) -> None:
    """Submit one coin's candles to the writer, without a report.

    Args:
        root: The folder of the archive.
        coin: The canonical id.
        currency: The canonical code.
        candles: Candles in order of days.
    """
    _submit(
        root, currency, lambda folder: write_candles(folder / f"{coin}.parquet", candles), wants_report=False
    )


def _submit(root: Path, currency: str, fill: Callable[[Path], None], *, wants_report: bool) -> Path:
    inbox = root / INBOX
    inbox.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=inbox, prefix=".new-"))
    try:
        fill(temporary)
        (temporary / ORDER).write_bytes(orjson.dumps({"currency": currency, "report": wants_report}))
        temporary.chmod(0o755)
        return temporary.rename(inbox / uuid.uuid4().hex)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


NUMBERS = ("open", "high", "low", "close", "volume", "market_cap")
# Older files lack the last column, the time of arrival, which is then unknown.
ARRIVAL = "received_at"
SCHEMA = pa.schema(
    [("date", pa.date32()), *((name, pa.float64()) for name in NUMBERS), (ARRIVAL, pa.int64())]
)


# Twenty times the hours of ten years; a larger file is none of the archive's.
MAX_FILE_BYTES = 64 * 1024 * 1024
# The first bitcoin block, and the end of 2099, in days since 1970.
FIRST_DAY, LAST_DAY = 14_247, 47_481
# Folders below the root of the archive that are no currencies.
OTHER_FOLDERS = frozenset({"hourly", "revisions"})
strays = StrayLog("archive_entry_skipped")


def read_candles(path: Path) -> list[Candle]:
    """Read the candles of a file in order of days; none if the file does not exist.

    Rows that cannot be candles are dropped, and named once.

    Raises:
        UnreadableArchive: The file cannot be read; the message does not have its path.
    """
    table = read_table(path, SCHEMA, "date", least=FIRST_DAY, most=LAST_DAY)
    columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    return [
        Candle(
            day=day,
            close=close,
            open=opened,
            high=high,
            low=low,
            volume=volume,
            market_cap=market_cap,
            received_at=received_at,
        )
        for day, opened, high, low, close, volume, market_cap, received_at in zip(*columns, strict=True)
    ]


def read_table(path: Path, schema: pa.Schema, key: str, *, least: int, most: int, step: int = 1) -> pa.Table:
    """Return the valid rows of a file of the archive, in order; an empty table if it does not exist.

    Args:
        path: The file.
        schema: Its columns.
        key: The column that identifies a row.
        least: The lowest key.
        most: The highest key.
        step: Keys are multiples of it.

    Raises:
        UnreadableArchive: The file cannot be read; the message does not have its path.
    """
    try:
        check_plain_file(path, max_bytes=MAX_FILE_BYTES)
        rows, faults = valid_rows(pq.read_table(path, schema=schema), key, least=least, most=most, step=step)
    except FileNotFoundError:
        return schema.empty_table()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise UnreadableArchive(without_path(error)) from error
    if faults:
        strays.name(path, f"{faults} of its rows are not valid candles")
    return rows


def read_last(path: Path) -> tuple[date, float] | None:
    """Return the newest day of a file and its close; None if it has none or cannot be read."""
    try:
        check_plain_file(path, max_bytes=MAX_FILE_BYTES)
        table = pq.read_table(path, columns=["date", "close"])
        day, close = (table["date"][-1].as_py(), table["close"][-1].as_py()) if len(table) else (None, None)
    except (pa.ArrowException, OSError, KeyError):
        return None
    if isinstance(day, date) and isinstance(close, float) and math.isfinite(close) and close > 0:
        return day, close
    return None


def read_extent(path: Path) -> tuple[int, date, date] | None:
    """Return (candles, first day, last day) from the footer of a file; None if it cannot be read."""
    try:
        check_plain_file(path, max_bytes=MAX_FILE_BYTES)
        footer = pq.read_metadata(path)
        ranges = [footer.row_group(n).column(0).statistics for n in range(footer.num_row_groups)]
        first, last = min(r.min for r in ranges), max(r.max for r in ranges)
    except (pa.ArrowException, OSError, ValueError, AttributeError, TypeError):
        return None
    return (footer.num_rows, first, last) if isinstance(first, date) and isinstance(last, date) else None


def write_candles(path: Path, candles: Sequence[Candle]) -> None:
    """Replace the file of a coin atomically; after a crash it is the old one or the new one.

    Args:
        path: The Parquet file.
        candles: All candles of the coin, oldest first.

    Raises:
        OSError: The file could not be written; the old one stays.
    """
    columns: dict[str, list[object]] = {"date": [candle.day for candle in candles]}
    for name in NUMBERS:
        columns[name] = [getattr(candle, name) for candle in candles]
    # Whole seconds, equal for all days of a fetch, so that they compress well.
    columns[ARRIVAL] = [None if c.received_at is None else int(c.received_at) for c in candles]
    table = pa.table(columns, schema=SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        pq.write_table(table, file, compression="zstd")


def merge_candles(kept: Sequence[Candle], new: Iterable[Candle]) -> tuple[list[Candle], int]:
    """Merge new candles into the stored ones.

    A stored day never changes, except that a whole candle replaces a bare close, and an absent figure is
    added.

    Args:
        kept: Stored candles, in order of days.
        new: New candles, in order of days.

    Returns:
        The candles in order of days, and how many days are new or have gained figures.
    """
    days: dict[date, Candle] = {candle.day: candle for candle in kept}
    changed: set[date] = set()
    for candle in new:
        before = days.get(candle.day)
        after = candle if before is None else richer(before, candle)
        if after != before:
            days[candle.day] = after
            changed.add(candle.day)
    return [days[day] for day in sorted(days)], len(changed)


def richer(kept: Candle, new: Candle) -> Candle:
    """Return the stored candle with the figures that the new one adds.

    If only the new candle is whole, it replaces the stored one.
    """
    if new.is_whole and not kept.is_whole:
        base, other = new, kept
    else:
        base, other = kept, new
    return Candle(
        base.day,
        base.close,
        open=base.open if base.open is not None or not _fits(other.open, base) else other.open,
        high=base.high,
        low=base.low,
        volume=base.volume if base.volume is not None else other.volume,
        market_cap=base.market_cap if base.market_cap is not None else other.market_cap,
        received_at=kept.received_at,
    )


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it was removed meanwhile."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fits(price: float | None, candle: Candle) -> bool:
    """Return whether a price lies within the high and low of a candle."""
    if price is None:
        return False
    return (candle.high is None or price <= candle.high) and (candle.low is None or price >= candle.low)


log = structlog.get_logger(__name__)
Key = tuple[str, str]
LONGEST_UNWRITTEN_SECONDS = 2.0
# Within this time after the first fetch of a coin, further fetches are assumed to bring its past, too.
FIRST_FETCH_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of the archive."""

    coins: int
    candles: int
    first_day: date | None
    last_day: date | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Held:
    """The candles of a coin in memory.

    `revision` changes whenever the candles change; `version` is the modification time of the file when it was
    read, in nanoseconds.
    """

    candles: tuple[Candle, ...]
    revision: int
    version: int


class Archive:
    """Daily candles by coin and currency.

    A process that is not the writer submits the candles that it fetched to the writer.

    Args:
        root: The folder of the archive.
        max_coins_in_memory: The most coins whose candles are cached.
    """

    def __init__(self, root: Path, *, max_coins_in_memory: int = 500) -> None:
        self._root = root
        self._revisions = Revisions(self._root / "revisions", strays)
        self._memory: LRUCache[Key, _Held] = LRUCache(max_coins_in_memory)
        # Candles that are not in a file yet, with the monotonic time since when. They are not in `_memory`
        # alone, which may evict a coin.
        self._unwritten: dict[Key, tuple[_Held, float]] = {}
        self._first_fetches: LRUCache[Key, float] = LRUCache(max_coins_in_memory)
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._lock_file: io.TextIOWrapper | None = None
        self._changes = 0
        self._extents: dict[Key, tuple[int, date, date]] = {}

    def open(self) -> None:
        """Become the writer if no other process is, and read the sizes of all files.

        Raises:
            OSError: The folder cannot be used.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self.acquire_writer_lock()
        for path in self._files():
            found = read_extent(path)
            if found is not None:
                self._extents[path.stem, path.parent.name] = found
        self._update_metrics()

    def _files(self) -> Iterator[Path]:
        """Yield the files that are named after a coin and a currency; others are named once."""
        for path in self._root.glob("*/*.parquet"):
            if path.parent.name in OTHER_FOLDERS or path.name.startswith("."):
                continue
            if not is_canonical(path.stem, path.parent.name):
                strays.name(path, "it is not named after a coin, or its folder not after a currency")
            elif not path.is_file():
                strays.name(path, "it is not a file")
            else:
                yield path

    def acquire_writer_lock(self) -> bool:
        """Become the writer if no other process is; return whether this process is the writer."""
        if self._lock_file is not None:
            return True
        path = self._root / WRITER_LOCK
        if (path.exists() or path.is_symlink()) and not path.is_file():
            strays.name(path, "it is not a file")
            set_aside(path)
        handle = path.open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        self._lock_file = handle
        return True

    @property
    def is_writer(self) -> bool:
        """Whether this process is the writer."""
        return self._lock_file is not None

    @property
    def root(self) -> Path:
        """The folder of the archive."""
        return self._root

    def stored_pairs(self) -> list[Key]:
        """Return the (coin, currency) of all stored histories, sorted."""
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
        held = self._held(key)
        if held is None or self._changed_outside(key, held):
            version = self._version(key)
            stored = await asyncio.to_thread(self._load, key)
            candles = tuple(merge_candles(stored, held.candles)[0]) if held else stored
            held = self._remember(key, candles, version=version)
        return held.candles

    def _held(self, key: Key) -> _Held | None:
        """Return the candles of a coin that are in memory, or None."""
        found = self._memory.get(key)
        if found is None and (unwritten := self._unwritten.get(key)) is not None:
            found = unwritten[0]
        return found

    def _lock(self, key: Key) -> asyncio.Lock:
        """Return the lock of a coin; it is dropped when it is no longer used."""
        return self._locks.setdefault(key, asyncio.Lock())

    def holds(self, coin: str, currency: str) -> bool:
        """Return whether a day of the coin is stored."""
        return (coin, currency) in self._extents

    async def last_closes(self, pairs: Iterable[Key]) -> dict[Key, tuple[date, float]]:
        """Return the newest stored day and its close of those pairs that are stored."""
        found: dict[Key, tuple[date, float]] = {}
        below: list[Key] = []
        for key in pairs:
            held = self._held(key)
            if held is not None and held.candles:
                found[key] = (held.candles[-1].day, held.candles[-1].close)
            elif key in self._extents:
                below.append(key)
        if below:
            paths = [self._path(key) for key in below]
            read = await asyncio.to_thread(lambda: [read_last(path) for path in paths])
            found |= {key: last for key, last in zip(below, read, strict=True) if last is not None}
        return found

    def revision(self, coin: str, currency: str) -> int:
        """Return a number that changes whenever the result of `read` changes."""
        held = self._held((coin, currency))
        return held.revision if held is not None else 0

    def _changed_outside(self, key: Key, held: _Held) -> bool:
        """Return whether the writer, which is another process, has replaced the file since it was read."""
        return not self.is_writer and self._version(key) != held.version

    def _version(self, key: Key) -> int:
        try:
            return self._path(key).stat().st_mtime_ns
        except OSError:
            return 0

    async def add(
        self,
        coin: str,
        currency: str,
        candles: Iterable[Candle],
        *,
        flush: bool = True,
        at: float | None = None,
    ) -> int:
        """Merge candles into the stored ones; return how many days are new or have gained figures.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            candles: The candles.
            flush: Whether to write the file now. Otherwise it is written by `flush`, or by a call two seconds
                after the first unwritten change.
            at: When the candles arrived, UNIX seconds; None if that does not say when they became known, as
                for imported files. The first fetch of a coin brings its past, so the time is only stored for
                later fetches, and for days after the first stored one.
        """
        key = (coin, currency)
        async with self._lock(key):
            before = await self.read(coin, currency)
            if not before and at is not None:
                self._first_fetches[key] = at
            first = self._first_fetches.get(key)
            if at is not None and first is not None and 0 <= at - first < FIRST_FETCH_SECONDS:
                at = None
            merged, changed = merge_candles(before, stamped(candles, before, at))
            if changed:
                self._remember(key, tuple(merged), unwritten=True)
                self._measure(key, merged)
                self._update_metrics()
        since = self._unwritten[key][1] if key in self._unwritten else time.monotonic()
        if flush or time.monotonic() - since > LONGEST_UNWRITTEN_SECONDS:
            await self.flush(coin, currency)
        return changed

    async def replace(self, coin: str, currency: str, candles: Sequence[Candle], at: float) -> int:
        """Replace the stored history, and save the former one as a revision.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            candles: The whole new history, in order of days.
            at: The time of the change, UNIX seconds, which names the revision.

        Returns:
            How many days differ.
        """
        key = (coin, currency)
        async with self._lock(key):
            before = await self.read(coin, currency)
            candles = stamped(candles, before, at)
            old, new = {c.day: c for c in before}, {c.day: c for c in candles}
            changed = sum(old.get(day) != new.get(day) for day in {*old, *new})
            if changed:
                if before and self.is_writer:
                    await self._write_revision(key, before, at)
                self._unwritten.pop(key, None)
                self._remember(key, tuple(candles))
                self._measure(key, candles)
                self._update_metrics()
                await self._write(key, candles)
        return changed

    async def _write_revision(self, key: Key, candles: Sequence[Candle], at: float) -> None:
        """Save a history before it is replaced; if the disk fails, it is replaced all the same."""
        try:
            await asyncio.to_thread(write_candles, self._revisions.new_path(*key, at), candles)
        except OSError as error:
            log.warning("revision_not_written", coin=key[0], reason=without_path(error))
            metrics.ARCHIVE_WRITES.labels(outcome="failed").inc()

    async def read_known_at(self, coin: str, currency: str, at: float) -> PastCandles[Candle]:
        """Return the history as it was before the replacements after a moment.

        Days that arrived after the moment are included; the caller leaves them out by `received_at`.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            at: The moment, UNIX seconds.
        """
        newest = await self.read(coin, currency)
        return await asyncio.to_thread(
            self._revisions.read_known_at, coin, currency, at, read=read_candles, newest=newest
        )

    async def flush(self, coin: str, currency: str) -> None:
        """Write added candles to the disk."""
        key = (coin, currency)
        async with self._lock(key):
            if key in self._unwritten:
                candles = await self.read(coin, currency)
                self._unwritten.pop(key, None)
                await self._write(key, candles)

    def extent(self) -> Extent:
        """Return the size of the archive, for the status report."""
        rows = self._extents.values()
        size = sum(map(size_of, self._files()))
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
            # The file is renamed for inspection, and the days are fetched again.
            strays.name(path, str(error))
            metrics.ARCHIVE_WRITES.labels(outcome="unreadable").inc()
            if self.is_writer:
                set_aside(path)
            return ()

    async def _write(self, key: Key, candles: Sequence[Candle]) -> None:
        try:
            if self.is_writer:
                await asyncio.to_thread(write_candles, self._path(key), candles)
            else:
                # The writer imports them.
                await asyncio.to_thread(submit_candles, self._root, *key, candles)
        except OSError as error:
            # If the disk is full, replies are served from memory and only the archive is incomplete.
            log.warning("archive_not_written", coin=key[0], reason=without_path(error))
            metrics.ARCHIVE_WRITES.labels(outcome="failed").inc()
        else:
            metrics.ARCHIVE_WRITES.labels(outcome="ok").inc()

    def _remember(
        self, key: Key, candles: tuple[Candle, ...], *, version: int | None = None, unwritten: bool = False
    ) -> _Held:
        """Store candles in memory.

        Args:
            key: The coin and currency.
            candles: All its candles.
            version: The version of the file that they were read from; None keeps the version read last.
            unwritten: Whether they are not in the file yet.
        """
        self._changes += 1
        if version is None:
            before = self._held(key)
            version = before.version if before is not None else 0
        held = self._memory[key] = _Held(candles, self._changes, version)
        if unwritten or key in self._unwritten:
            since = self._unwritten[key][1] if key in self._unwritten else time.monotonic()
            self._unwritten[key] = (held, since)
        return held

    def _measure(self, key: Key, candles: Sequence[Candle]) -> None:
        if candles:
            self._extents[key] = (len(candles), candles[0].day, candles[-1].day)

    def _update_metrics(self) -> None:
        metrics.ARCHIVE_COINS.set(len(self._extents))
        metrics.ARCHIVE_CANDLES.set(sum(count for count, _, _ in self._extents.values()))


def stamped(candles: Iterable[Candle], before: Sequence[Candle], at: float | None) -> list[Candle]:
    """Return new candles with their times of arrival, as far as these say when the days became known.

    Stored days keep their time. The first days of a coin, and days before the first stored one, get none,
    since they are fetched when they are first requested.

    Args:
        candles: The new candles.
        before: The stored candles, in order of days.
        at: When the new ones arrived, UNIX seconds, or None if unknown.
    """
    known = {candle.day: candle.received_at for candle in before}
    first = before[0].day if before else date.max
    return [
        replace(candle, received_at=known[candle.day])
        if candle.day in known
        else candle
        if candle.received_at is not None or at is None or candle.day < first
        else replace(candle, received_at=at)
        for candle in candles
    ]
