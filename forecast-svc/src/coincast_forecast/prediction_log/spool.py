"""Ledger lines on disk, synced before they count; segments are read back oldest first and removed once
delivered.

One folder a replica, held by a lock for as long as its process lives, so that a replica that is gone for
good has its lines delivered by another.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

LOCK = ".lock"
SEGMENT = "*.jsonl"


class SpoolFolder:
    """One folder of segments; the one who holds it is alone in it. Blocking: call it off the event loop."""

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self.folder = folder
        self._lock = lock
        self._open: IO[bytes] | None = None
        self.waiting = sum(len(read_segment(segment)) for segment in self.segments())

    @classmethod
    def claim(cls, folder: Path) -> "SpoolFolder | None":
        """Hold a folder, made where it is missing; None where another process holds it. Raises OSError."""
        while True:
            lock = _open_lock(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                return None
            # Who held it may have removed the folder since: a lock on a file that is gone holds nothing.
            if _lies_at(folder / LOCK, lock):
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
            self._abandon(start)
            raise
        self.waiting += len(lines)

    def segments(self) -> list[Path]:
        """The segments, oldest first."""
        return sorted(self.folder.glob(SEGMENT))

    def seal(self) -> list[Path]:
        """The segments, oldest first, none of which will grow: further lines go to a new one."""
        self._close()
        return self.segments()

    def remove(self, segment: Path, delivered: int) -> None:
        """A segment's lines have arrived."""
        segment.unlink()
        _sync_folder(self.folder)
        self.waiting = max(0, self.waiting - delivered)

    def oldest_age_seconds(self, now: float) -> float:
        """How long the oldest line waits; 0 where none does."""
        segments = self.segments()
        return max(0.0, now - int(segments[0].stem) / 1e9) if segments else 0.0

    def release(self) -> None:
        """Let another process hold the folder."""
        self._close()
        self._lock.close()

    def discard(self) -> None:
        """Remove an empty folder whose replica is gone, and let go of it."""
        empty = not self.segments()
        if empty:
            (self.folder / LOCK).unlink(missing_ok=True)
        self.release()
        if empty:
            # Whoever came since the unlink has a lock of its own in there, and keeps the folder.
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _abandon(self, start: int) -> None:
        """Cut off what was half written: it was not confirmed, and nobody may take it for whole."""
        segment, self._open = self._open, None
        if segment is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(segment.fileno(), start)
            segment.close()


def read_segment(segment: Path) -> list[str]:
    """The whole lines of a segment; a last line cut short by the end of its process was never confirmed."""
    return [text for text in _whole_lines(segment.read_bytes()) if _is_json(text)]


def orphans(root: Path, own: Iterable[Path]) -> Iterator[SpoolFolder]:
    """Folders of replicas that live no more, claimed one by one."""
    mine = {folder.resolve() for folder in own}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.resolve() not in mine and (claimed := SpoolFolder.claim(folder)) is not None:
            yield claimed


def claim_own(root: Path, replica: str) -> SpoolFolder:
    """This replica's folder, numbered where another process of the same name holds it. Raises OSError."""
    number = 1
    while (claimed := SpoolFolder.claim(root / (replica if number == 1 else f"{replica}-{number}"))) is None:
        number += 1
    return claimed


def _open_lock(folder: Path) -> IO[bytes]:
    """The file to lock, the folder made again as often as it goes in between."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        with contextlib.suppress(FileNotFoundError):
            return (folder / LOCK).open("ab")


def _lies_at(path: Path, file: IO[bytes]) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Unbuffered files may take a part only, on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _whole_lines(data: bytes) -> list[str]:
    return data[: data.rfind(b"\n") + 1].decode(errors="replace").splitlines()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
