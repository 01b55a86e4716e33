"""Write the log of forecasts and risk answers to Redis, or to a spool on disk while Redis is unavailable.

Lines in the spool are synced before they are confirmed, read back oldest first, and removed after delivery.
Lines that Redis has confirmed are kept in memory until it cannot lose them any more if it is killed.
Each replica has its own folder, which it locks while its process runs, so that another replica can deliver
the lines of one that no longer runs. Files and folders that are not part of a spool are skipped and logged
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.plain_files import read_plain_file
from coincast_forecast import metrics
from coincast_forecast.domain import LedgerCounts
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_modelkit.durable_files import append_durably, sync_folder
from coincast_modelkit.ledger import STREAM_FIELD, LedgerEntry, stream_key_of
from coincast_modelkit.scenarios.statements import RiskStatement

log = get_logger("coincast.forecast.ledger")

LOCK = ".lock"
# File names are nanoseconds since 1970, so that they sort by age.
SEGMENT = re.compile(r"[0-9]{19,20}\.jsonl")
# An entry has a few thousand characters.
MAX_LINE = 1_000_000
MAX_SEGMENT_BYTES = 1024 * 1024 * 1024

_named: set[str] = set()


class SpoolFolder:
    """One exclusively locked folder of segments. Its methods block: call them off the event loop."""

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self.folder = folder
        self._lock = lock
        self._open: IO[bytes] | None = None
        self.waiting = sum(len(read_segment(segment)) for segment in self.segments())

    @classmethod
    def claim(cls, folder: Path) -> SpoolFolder | None:
        """Create and lock a folder; return None if another process has locked it. Raises OSError."""
        while True:
            lock = _open_lock(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                return None
            # The last holder may have removed the folder in between; a lock on a deleted file has no effect.
            if _is_linked_at(folder / LOCK, lock):
                return cls(folder, lock)
            lock.close()

    def append(self, lines: Sequence[str]) -> None:
        """Write lines and sync them to the disk. Raises OSError if that fails."""
        if self._open is None:
            self._open = (self.folder / f"{time.time_ns():020d}.jsonl").open("ab", buffering=0)
            sync_folder(self.folder)
        try:
            append_durably(self._open.fileno(), "".join(f"{line}\n" for line in lines).encode())
        except OSError:
            self._close()
            raise
        self.waiting += len(lines)

    def segments(self) -> list[Path]:
        """Return the segments, oldest first; other entries of the folder are skipped."""
        found = []
        for path in self.folder.iterdir():
            if SEGMENT.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                found.append(path)
            elif path.name != LOCK:
                _name_once(path, "it is not a segment of the spool")
        return sorted(found)

    def seal(self) -> list[Path]:
        """Close the newest segment and return all, oldest first; later lines go to a new segment."""
        self._close()
        return self.segments()

    def remove(self, segment: Path, delivered: int) -> None:
        """Remove a segment whose lines were delivered."""
        segment.unlink()
        sync_folder(self.folder)
        self.waiting = max(0, self.waiting - delivered)

    def oldest_age_seconds(self, now: float) -> float:
        """Return the age of the oldest segment; 0 without segments."""
        segments = self.segments()
        return max(0.0, now - int(segments[0].stem) / 1e9) if segments else 0.0

    def release(self) -> None:
        """Unlock the folder for other processes."""
        self._close()
        self._lock.close()

    def discard(self) -> None:
        """Remove the folder if it is empty, and unlock it."""
        empty = [path.name for path in self.folder.iterdir()] == [LOCK]
        if empty:
            (self.folder / LOCK).unlink(missing_ok=True)
        self.release()
        if empty:
            # If a process has claimed the folder since the unlink, its lock file prevents the removal.
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def read_segment(segment: Path) -> list[str]:
    """Return the complete lines of a segment that are entries of the log.

    An incomplete last line was never confirmed and is ignored. Lines that are not entries are skipped, and
    the segment is logged once. A segment that cannot be read is logged once and treated as empty.
    """
    try:
        data = read_plain_file(segment, max_bytes=MAX_SEGMENT_BYTES)
    except OSError as error:
        _name_once(segment, f"it cannot be read ({type(error).__name__})")
        return []
    lines = data[: data.rfind(b"\n") + 1].decode(errors="replace").splitlines()
    entries = [line for line in lines if _is_entry(line)]
    if len(entries) < len(lines):
        _name_once(segment, f"{len(lines) - len(entries)} of its lines are not entries")
    return entries


def orphans(root: Path, own: Iterable[Path]) -> Iterator[SpoolFolder]:
    """Lock and yield, one at a time, the folders of replicas that no longer run.

    A folder belongs to a replica if it has a lock file; other folders, and those that cannot be opened, are
    skipped.
    """
    mine = {folder.resolve() for folder in own}
    for folder in sorted(root.iterdir()):
        try:
            if folder.is_symlink() or not folder.is_dir() or not (folder / LOCK).is_file():
                _name_once(folder, "it is not a folder of a replica")
                continue
            claimed = SpoolFolder.claim(folder) if folder.resolve() not in mine else None
        except OSError as error:
            _name_once(folder, f"it cannot be opened ({type(error).__name__})")
            continue
        if claimed is not None:
            yield claimed


def claim_own(root: Path, replica: str) -> SpoolFolder:
    """Lock this replica's folder; add a number to the name if another process uses it. Raises OSError."""
    number = 1
    while (claimed := SpoolFolder.claim(root / (replica if number == 1 else f"{replica}-{number}"))) is None:
        number += 1
    return claimed


def _name_once(path: Path, reason: str) -> None:
    """Log a foreign file or folder only once, since the spool is read every second."""
    if str(path) not in _named and len(_named) < 10_000:
        _named.add(str(path))
        log.warning("spool_entry_skipped", folder=path.parent.name, name=path.name, reason=reason)


def _open_lock(folder: Path) -> IO[bytes]:
    """Open the lock file; create the folder, again if another process removes it in between."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        with contextlib.suppress(FileNotFoundError):
            return (folder / LOCK).open("ab")


def _is_linked_at(path: Path, file: IO[bytes]) -> bool:
    """Return whether the path still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _is_entry(line: str) -> bool:
    """Return whether a line is a JSON object of a sensible size; training-svc checks its fields."""
    if len(line) > MAX_LINE:
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


CHUNK = 200


class StreamUnavailableError(Exception):
    """Redis did not confirm the lines; some of them may have arrived."""


class Stream:
    """Appends lines, one message per line, each to the stream of its kind.

    A message may arrive twice; readers deduplicate by the ids of the lines.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def add(self, lines: Sequence[str]) -> None:
        """Append lines. Raises StreamUnavailableError unless Redis confirms all of them."""
        try:
            for start in range(0, len(lines), CHUNK):
                async with self._client.pipeline(transaction=False) as pipe:
                    for line in lines[start : start + CHUNK]:
                        pipe.xadd(stream_key_of(line), {STREAM_FIELD: line})
                    await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise StreamUnavailableError(without_path(error)) from error

    async def process_id(self) -> str | None:
        """Return what identifies the running Redis process, or None if Redis does not answer.

        It changes when Redis restarts. It is empty where the user may not ask for it.
        """
        try:
            try:
                return str((await self._client.info("server")).get("run_id", ""))
            except ResponseError:
                await self._client.ping()
                return ""
        except (RedisError, OSError, TimeoutError):
            return None


# With `appendfsync everysec`, Redis may answer before the line is in its file: usually it is there at once,
# while the disk is busy up to two seconds later, and the sync follows within another second.
UNSAFE_SECONDS = 10.0
MAX_UNSAFE_BYTES = 32 * 1024 * 1024


class UnsafeLines:
    """The lines that Redis has confirmed so recently that it can still lose them if it is killed.

    A reader deduplicates by the ids of the lines, so a line may be delivered again at any time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._added: deque[tuple[float, Sequence[str]]] = deque()
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether lines must go to the disk, since so many are kept here that memory is in danger."""
        return self._bytes >= MAX_UNSAFE_BYTES

    def now(self) -> float:
        """Return the time on the clock of `forget`, in seconds."""
        return self._clock()

    def add(self, lines: Sequence[str]) -> None:
        """Keep lines that Redis has just confirmed."""
        if lines:
            self._added.append((self._clock(), lines))
            self._bytes += _length(lines)

    def forget(self, as_of: float) -> None:
        """Drop what is safe, given that the Redis process that confirmed it still ran at `as_of`."""
        while self._added and self._added[0][0] + UNSAFE_SECONDS <= as_of:
            self._bytes -= _length(self._added.popleft()[1])

    def take(self) -> list[str]:
        """Return all lines, oldest first, and keep none."""
        lines = [line for _, added in self._added for line in added]
        self._added.clear()
        self._bytes = 0
        return lines


def _length(lines: Sequence[str]) -> int:
    return sum(map(len, lines))


# More entries than this are encoded off the event loop.
MAX_INLINE_ENTRIES = 60


class LedgerWriter:
    """Makes entries durable before `append` returns True."""

    def __init__(self, stream: Stream, own: SpoolFolder) -> None:
        self._stream = stream
        self._own = own
        self._root: Path = own.folder.parent
        self._disk = WorkerThread("spool")
        self._unsafe = UnsafeLines()
        self._process_id: str | None = None
        self._up = True
        self._appended = 0

    async def append(self, entries: Sequence[LedgerEntry | RiskStatement]) -> bool:
        """Write entries to Redis or to the disk; return False if both failed."""
        if len(entries) <= MAX_INLINE_ENTRIES:
            lines = [entry.to_json() for entry in entries]
        else:
            lines = await self._disk.run(lambda: [entry.to_json() for entry in entries])
        if self._up and not self._unsafe.full and await self._to_stream(lines):
            return True
        return await self._to_spool(lines)

    def counts(self) -> LedgerCounts:
        """Return the numbers of entries written and waiting on disk, and whether Redis accepts entries."""
        return LedgerCounts(self._appended, self._own.waiting, self._up)

    async def drain(self) -> None:
        """Deliver the entries on disk, also those of replicas that no longer run, until Redis fails.

        If Redis has restarted since the last call, the lines that it may have lost are delivered again.
        """
        now = self._unsafe.now()
        process_id = await self._stream.process_id()
        if process_id is None:
            self._set_up(False)
            # It may have been killed. A single failed call does not mean that, so `append` does not do this.
            await self._keep_on_disk(self._unsafe.take())
            self._update_metrics()
            return
        try:
            if process_id == self._process_id:
                self._unsafe.forget(now)
            else:
                await self._deliver_again()
            self._process_id = process_id
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
        """Unlock the folder and stop the thread."""
        await self._disk.run(self._own.release)
        self._disk.stop()

    async def _to_stream(self, lines: Sequence[str]) -> bool:
        try:
            await self._stream.add(lines)
        except StreamUnavailableError as error:
            log.warning("redis_unavailable_spooling", error=str(error))
            self._set_up(False)
            return False
        self._unsafe.add(lines)
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

    async def _deliver_again(self) -> None:
        """Deliver the lines that the former Redis process may have lost. Raises StreamUnavailableError."""
        lines = self._unsafe.take()
        try:
            await self._stream.add(lines)
        except StreamUnavailableError:
            await self._keep_on_disk(lines)
            raise
        self._unsafe.add(lines)

    async def _keep_on_disk(self, lines: Sequence[str]) -> None:
        """Write confirmed lines to the disk; if that fails, they stay in memory."""
        if not lines:
            return
        try:
            await self._disk.run(lambda: self._own.append(lines))
        except (OSError, ThreadStuckError) as error:
            log.warning("confirmed_lines_not_spooled", lines=len(lines), error=without_path(error))
            self._unsafe.add(lines)

    async def _deliver(self, folder: SpoolFolder) -> None:
        for segment in await self._disk.run(folder.seal):
            lines = await self._disk.run(partial(read_segment, segment))
            if not lines and await self._disk.run(partial(_has_content, segment)):
                continue  # Unreadable, or without any entry: keep the file for inspection.
            await self._stream.add(lines)
            self._unsafe.add(lines)
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
