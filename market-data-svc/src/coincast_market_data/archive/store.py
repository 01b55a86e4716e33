"""The archive of daily candles: reads from memory where it can, writes through one writer.

Each coin has one Parquet file, which is written beside the old one and moved into place, so that a reader
never sees half of it. A process that is not the writer submits candles to it: a folder in its inbox, moved
there as a whole.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from weakref import WeakValueDictionary

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from cachetools import LRUCache

from coincast_chassis.durable_files import replacing
from coincast_market_data import metrics
from coincast_market_data.archive.revisions import Revisions
from coincast_market_data.domain import Candle

INBOX = ".inbox"
ORDER = "order.json"


def submit_files(root: Path, files: Sequence[Path], currency: str) -> Path:
    """Copy a user's files into the inbox.

    Args:
        root: Folder of the archive.
        files: The files to import.
        currency: The currency of their prices.

    Returns:
        The folder of the order; the report is written beside its files.
    """

    def fill(folder: Path) -> None:
        for path in files:
            shutil.copyfile(path, folder / path.name)

    return _drop(root, currency, fill, wants_report=True)


def submit_candles(root: Path, coin: str, currency: str, candles: Sequence[Candle]) -> None:
    """Submit one coin's candles to the writer, without a report.

    Args:
        root: Folder of the archive.
        coin: Canonical id.
        currency: Canonical code.
        candles: Candles in order of days.
    """
    _drop(
        root, currency, lambda folder: write_candles(folder / f"{coin}.parquet", candles), wants_report=False
    )


def _drop(root: Path, currency: str, fill: Callable[[Path], None], *, wants_report: bool) -> Path:
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
# Archives that were written before `received_at` was stored lack the column: the time is then unknown.
ARRIVAL = "received_at"
SCHEMA = pa.schema(
    [("date", pa.date32()), *((name, pa.float64()) for name in NUMBERS), (ARRIVAL, pa.int64())]
)


class UnreadableArchive(Exception):  # noqa: N818 - the name describes the file
    """A file that is there but cannot be read as candles."""


def read_candles(path: Path) -> list[Candle]:
    """Read the candles in order of days; none where there is no file.

    Raises:
        UnreadableArchive: The file cannot be read.
    """
    if not path.exists():
        return []
    try:
        table = pq.read_table(path, schema=SCHEMA)
        columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UnreadableArchive(f"{path}: {error}") from error
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


def read_last(path: Path) -> tuple[date, float] | None:
    """Return the newest day and its close; None for a file that cannot be read."""
    try:
        table = pq.read_table(path, columns=["date", "close"])
        return (table["date"][-1].as_py(), table["close"][-1].as_py()) if len(table) else None
    except (pa.ArrowException, OSError, KeyError):
        return None


def read_extent(path: Path) -> tuple[int, date, date] | None:
    """Return (candles, first day, last day) from the file's footer; None for a file that cannot be read."""
    try:
        footer = pq.read_metadata(path)
        ranges = [footer.row_group(n).column(0).statistics for n in range(footer.num_row_groups)]
        return footer.num_rows, min(r.min for r in ranges), max(r.max for r in ranges)
    except (pa.ArrowException, OSError, ValueError, AttributeError):
        return None


def write_candles(path: Path, candles: Sequence[Candle]) -> None:
    """Replace the file as a whole; after a crash there is the old one or the new one."""
    columns: dict[str, list[object]] = {"date": [candle.day for candle in candles]}
    for name in NUMBERS:
        columns[name] = [getattr(candle, name) for candle in candles]
    # Whole seconds, equal for all days of one fetch: they take almost no room.
    columns[ARRIVAL] = [None if c.received_at is None else int(c.received_at) for c in candles]
    table = pa.table(columns, schema=SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        pq.write_table(table, file, compression="zstd")


def merge_candles(kept: Sequence[Candle], new: Iterable[Candle]) -> tuple[list[Candle], int]:
    """Merge new candles into the stored ones.

    Returns the candles in order of days, and how many days are new or richer. A stored day never changes,
    except that a whole candle replaces a bare close and an absent figure is filled in.

    Args:
        kept: Stored candles, in order of days.
        new: New candles, in order of days.
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
    """Return the candle with more figures; the stored one where both have as many."""
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


def _fits(price: float | None, candle: Candle) -> bool:
    """Return whether a price is consistent with the candle's own range."""
    if price is None:
        return False
    return (candle.high is None or price <= candle.high) and (candle.low is None or price >= candle.low)


log = structlog.get_logger(__name__)
Key = tuple[str, str]
LONGEST_UNWRITTEN_SECONDS = 2.0
# The first fetch of a coin brings its past in several calls, in any order, within this time.
FIRST_FETCH_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Extent:
    """Extent of the archive."""

    coins: int
    candles: int
    first_day: date | None
    last_day: date | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Held:
    """One coin's candles in memory.

    `revision` changes whenever the candles change; `version` is that of the file when it was read.
    """

    candles: tuple[Candle, ...]
    revision: int
    version: int


class Archive:
    """Candles by coin and currency.

    A process that is not the writer hands the candles it fetched to the process that is.
    """

    def __init__(self, root: Path, *, max_coins_in_memory: int = 500) -> None:
        self._root = root
        self._revisions = Revisions(self._root / "revisions")
        self._memory: LRUCache[Key, _Held] = LRUCache(max_coins_in_memory)
        # Candles that no file holds yet, with the time since when: reading many coins must not evict them.
        self._unwritten: dict[Key, tuple[_Held, float]] = {}
        self._first_fetches: LRUCache[Key, float] = LRUCache(max_coins_in_memory)
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._lock_file: io.TextIOWrapper | None = None
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
        held = self._held(key)
        if held is None or self._changed_outside(key, held):
            version = self._version(key)
            stored = await asyncio.to_thread(self._load, key)
            candles = tuple(merge_candles(stored, held.candles)[0]) if held else stored
            held = self._remember(key, candles, version=version)
        return held.candles

    def _held(self, key: Key) -> _Held | None:
        """Return the data of a coin that is in memory."""
        found = self._memory.get(key)
        if found is None and (unwritten := self._unwritten.get(key)) is not None:
            found = unwritten[0]
        return found

    def _lock(self, key: Key) -> asyncio.Lock:
        """Return the lock of a coin, which exists while it is in use."""
        return self._locks.setdefault(key, asyncio.Lock())

    def holds(self, coin: str, currency: str) -> bool:
        """Return whether anything of the coin is stored."""
        return (coin, currency) in self._extents

    async def last_closes(self, pairs: Iterable[Key]) -> dict[Key, tuple[date, float]]:
        """Return the newest stored day and its close for those pairs that are stored."""
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
        """Return whether another process, the writer, has replaced the file since it was read."""
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
        """Merge candles in; returns how many days are new or richer.

        Args:
            coin: Canonical id.
            currency: Canonical code.
            candles: The candles.
            flush: Whether to write the file at once. Otherwise it is written by `flush`, or here once some
                seconds have passed since the last write.
            at: When the candles came, UNIX seconds; None if that tells nothing, as for imported files. The
                time is stored with days after the first stored one, unless the first fetch brought
                them: it brings the past.
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
        async with self._lock(key):
            before = await self.read(coin, currency)
            candles = stamped(candles, before, at)
            old, new = {c.day: c for c in before}, {c.day: c for c in candles}
            changed = sum(old.get(day) != new.get(day) for day in {*old, *new})
            if changed:
                if before and self.is_writer:
                    path = self._revisions.new_path(coin, currency, at)
                    await asyncio.to_thread(write_candles, path, before)
                self._unwritten.pop(key, None)
                self._remember(key, tuple(candles))
                self._measure(key, candles)
                self._update_metrics()
                await self._write(key, candles)
        return changed

    async def read_known_at(self, coin: str, currency: str, at: float) -> Sequence[Candle]:
        """Return the history as it was stored at a moment (UNIX seconds), restatements undone.

        Args:
            coin: Canonical id.
            currency: Canonical code.
            at: The moment, UNIX seconds.
        """
        path = self._revisions.path_known_at(coin, currency, at)
        return (
            await self.read(coin, currency) if path is None else await asyncio.to_thread(read_candles, path)
        )

    def revision_times(self, coin: str, currency: str) -> list[int]:
        """Return when the history was replaced, UNIX seconds, oldest first."""
        return self._revisions.times(coin, currency)

    async def flush(self, coin: str, currency: str) -> None:
        """Write added candles to the disk."""
        key = (coin, currency)
        async with self._lock(key):
            if key in self._unwritten:
                candles = await self.read(coin, currency)
                self._unwritten.pop(key, None)
                await self._write(key, candles)

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

    def _remember(
        self, key: Key, candles: tuple[Candle, ...], *, version: int | None = None, unwritten: bool = False
    ) -> _Held:
        """Hold candles in memory, read from a file of this version; None stands for the file read last."""
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
    """Return candles with the time of their arrival, if it tells when they became known.

    Days that are stored keep their time. The first days of a coin, and those before the first stored one, are
    fetched at the first request, which does not tell when they became known.

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
