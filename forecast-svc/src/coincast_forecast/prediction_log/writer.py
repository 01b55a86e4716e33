"""Write the log of forecasts and risk answers to Redis, or to a spool on disk while Redis is unavailable.

Lines in the spool are synced before they count, read back oldest first, and removed once delivered. Each
replica has a folder, locked for as long as its process lives, so that the lines of a replica that is gone
for good are delivered by another. Files and folders that are not part of a spool are skipped and named once
in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import redis.asyncio
from redis.exceptions import RedisError

from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.domain import LedgerCounts
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_modelkit.ledger import STREAM_FIELD, LedgerEntry
from coincast_modelkit.scenarios.statements import RiskStatement, stream_key_of

log = get_logger("coincast.forecast.ledger")

LOCK = ".lock"
# Nanoseconds since 1970, so that names sort by age.
SEGMENT = re.compile(r"\d{19,20}\.jsonl")

_named: set[str] = set()


class SpoolFolder:
    """One folder of segments, held exclusively. Its methods block: call them off the event loop."""

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self.folder = folder
        self._lock = lock
        self._open: IO[bytes] | None = None
        self.waiting = sum(len(read_segment(segment)) for segment in self.segments())

    @classmethod
    def claim(cls, folder: Path) -> SpoolFolder | None:
        """Hold a folder, created where it is missing; None where another process holds it. Raises OSError."""
        while True:
            lock = _open_lock(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                return None
            # Its last holder may have removed the folder since: a lock on a deleted file holds nothing.
            if _is_linked_at(folder / LOCK, lock):
                return cls(folder, lock)
            lock.close()

    def append(self, lines: Sequence[str]) -> None:
        """Write lines and sync them to the disk. Raises OSError where they are not safe."""
        if self._open is None:
            self._open = (self.folder / f"{time.time_ns():020d}.jsonl").open("ab", buffering=0)
            _sync_folder(self.folder)
        start = self._open.tell()
        try:
            _write_all(self._open, "".join(f"{line}\n" for line in lines).encode())
            os.fsync(self._open.fileno())
        except OSError:
            self._truncate(start)
            raise
        self.waiting += len(lines)

    def segments(self) -> list[Path]:
        """Return the segments, oldest first; other entries of the folder are skipped."""
        found = []
        for path in self.folder.iterdir():
            if SEGMENT.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                found.append(path)
            elif path.name != LOCK:
                _name_once(path, "it is no segment of the spool")
        return sorted(found)

    def seal(self) -> list[Path]:
        """Return the segments, oldest first, after closing the newest: further lines go to a new one."""
        self._close()
        return self.segments()

    def remove(self, segment: Path, delivered: int) -> None:
        """Remove a segment whose lines were delivered."""
        segment.unlink()
        _sync_folder(self.folder)
        self.waiting = max(0, self.waiting - delivered)

    def oldest_age_seconds(self, now: float) -> float:
        """Return the age of the oldest segment; 0 where there is none."""
        segments = self.segments()
        return max(0.0, now - int(segments[0].stem) / 1e9) if segments else 0.0

    def release(self) -> None:
        """Let another process hold the folder."""
        self._close()
        self._lock.close()

    def discard(self) -> None:
        """Remove the folder where it is empty, and release it."""
        empty = [path.name for path in self.folder.iterdir()] == [LOCK]
        if empty:
            (self.folder / LOCK).unlink(missing_ok=True)
        self.release()
        if empty:
            # A process that came since the unlink has a lock of its own in there and keeps the folder.
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _truncate(self, start: int) -> None:
        """Cut off what was half written: it was not confirmed, and must not be read as whole."""
        segment, self._open = self._open, None
        if segment is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(segment.fileno(), start)
            segment.close()


def read_segment(segment: Path) -> list[str]:
    """Return the whole lines of a segment that are entries of the log.

    A last line cut short by the end of its process was never confirmed. A line that is no entry is skipped
    and its segment named once. A segment that cannot be read has no lines.
    """
    try:
        data = segment.read_bytes()
    except OSError as error:
        _name_once(segment, f"it cannot be read ({type(error).__name__})")
        return []
    lines = data[: data.rfind(b"\n") + 1].decode(errors="replace").splitlines()
    entries = [line for line in lines if _is_entry(line)]
    if len(entries) < len(lines):
        _name_once(segment, f"{len(lines) - len(entries)} of its lines are no entries")
    return entries


def orphans(root: Path, own: Iterable[Path]) -> Iterator[SpoolFolder]:
    """Claim the folders of replicas that no longer live, one by one.

    A folder is a replica's where it holds a lock file; others, and those that cannot be opened, are skipped.
    """
    mine = {folder.resolve() for folder in own}
    for folder in sorted(root.iterdir()):
        try:
            if folder.is_symlink() or not folder.is_dir() or not (folder / LOCK).is_file():
                _name_once(folder, "it is no folder of a replica")
                continue
            claimed = SpoolFolder.claim(folder) if folder.resolve() not in mine else None
        except OSError as error:
            _name_once(folder, f"it cannot be opened ({type(error).__name__})")
            continue
        if claimed is not None:
            yield claimed


def claim_own(root: Path, replica: str) -> SpoolFolder:
    """Claim this replica's folder, numbered where another process holds that name. Raises OSError."""
    number = 1
    while (claimed := SpoolFolder.claim(root / (replica if number == 1 else f"{replica}-{number}"))) is None:
        number += 1
    return claimed


def _name_once(path: Path, reason: str) -> None:
    """Log a stray entry the first time it is met: the spool is looked at every second."""
    if str(path) not in _named and len(_named) < 10_000:
        _named.add(str(path))
        log.warning("spool_entry_skipped", folder=path.parent.name, name=path.name, reason=reason)


def _open_lock(folder: Path) -> IO[bytes]:
    """Open the file to lock, creating the folder as often as it is removed in between."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        with contextlib.suppress(FileNotFoundError):
            return (folder / LOCK).open("ab")


def _is_linked_at(path: Path, file: IO[bytes]) -> bool:
    """Return whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write all bytes: an unbuffered file may take a part only, on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _is_entry(line: str) -> bool:
    """Return whether a line is a JSON object; training-svc checks its fields."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        """Append all. Raises StreamUnavailableError where Redis does not confirm every one."""
        try:
            for start in range(0, len(lines), CHUNK):
                async with self._client.pipeline(transaction=False) as pipe:
                    for line in lines[start : start + CHUNK]:
                        pipe.xadd(stream_key_of(line), {STREAM_FIELD: line})
                    await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise StreamUnavailableError(str(error)) from error

    async def ping(self) -> bool:
        """Return whether Redis answers."""
        try:
            await self._client.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True


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
