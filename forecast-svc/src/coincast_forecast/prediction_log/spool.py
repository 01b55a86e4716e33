"""Log lines on disk, synced before they count, read back oldest first and removed once delivered.

Each replica has a folder, locked for as long as its process lives, so that the lines of a replica that is
gone for good are delivered by another. Files and folders that are not part of a spool are skipped and named
once in the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from coincast_chassis.observability.logs import get_logger

log = get_logger("coincast.forecast.spool")

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
