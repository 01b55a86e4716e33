"""Files on disk: written so that a crash leaves no part of one, and read only if they are plain files.

    replace_file(path, content)                       # bytes
    with replacing(path) as file: table.to(file)      # a writer that wants a file object
    append_line(path, line)                           # a log of records
    read_plain_file(path, max_bytes=n)                # no folder, pipe, device or huge file

After a crash a file holds its old content or its new one, never a part. When a function that writes returns,
its data has reached the disk (fsync of the file and of its folder). All functions block: call them in a
thread from asyncio code.

An entry that is not what a service expects (a folder, a pipe, a link to nothing, a huge file) must not stop
the service: a pipe must not be opened as a file, since that waits for a writer. Such a stray entry is skipped
and named in the log once, by its folder and name, never by its absolute path.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

from coincast_chassis.observability.logs import get_logger

log = get_logger("coincast.strays")
TEMPORARY_PREFIX = ".writing-"
MAX_NAMED_ENTRIES = 10_000
ASIDE = ".unreadable"


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file below a folder to the disk, then the folders themselves."""
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    for path in [*(p for p in reversed(paths) if p.is_dir() and not p.is_symlink()), folder]:
        sync_folder(path)


@contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Yield a temporary file that takes the place of `path` when the block succeeds.

    Args:
        path: The file to create or replace; its folder must exist.
        mode: Permissions of the new file.

    Yields:
        A binary file, opened for writing. If the block raises, `path` stays as it is.
    """
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Create or replace a file.

    Args:
        path: The file; its folder must exist.
        content: The new content.
        mode: Permissions of the new file.
    """
    with replacing(path, mode=mode) as file:
        file.write(content)


def append_line(path: Path, line: bytes) -> None:
    """Append one line to a file, created if absent; a partial last line left by a crash is ended first."""
    created = not path.exists()
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line if line.endswith(b"\n") else line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if created:
        sync_folder(path.parent)


def remove_temporary_files(folder: Path) -> int:
    """Remove the temporary files that interrupted writes left in a folder; return their number."""
    left = [path for path in folder.glob(f"{TEMPORARY_PREFIX}*") if path.is_file()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


class NotAPlainFileError(OSError):
    """The entry is a folder, a pipe, a device, or larger than is allowed; the message has no path."""


class StrayLog:
    """Names each stray entry once.

    Args:
        event: The event in the log.
        max_entries: The most entries that are named; then no further ones are, so that memory is bounded.
    """

    def __init__(self, event: str, *, max_entries: int = MAX_NAMED_ENTRIES) -> None:
        self._event = event
        self._max_entries = max_entries
        self._named: set[tuple[str, str]] = set()

    def name(self, path: Path, reason: str) -> None:
        """Log an entry, unless it was logged for this reason before."""
        key = str(path), reason
        if key not in self._named and len(self._named) < self._max_entries:
            self._named.add(key)
            log.warning(self._event, folder=path.parent.name, name=path.name, reason=reason)


def check_plain_file(path: Path, *, max_bytes: int) -> None:
    """Check that a path is a regular file, or a link to one, that is not too large.

    Args:
        path: The file.
        max_bytes: The largest size.

    Raises:
        FileNotFoundError: There is no such file.
        NotAPlainFileError: It is another kind of entry, or too large.
        OSError: It cannot be examined.
    """
    _check(path.stat(), max_bytes)


def read_plain_file(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a regular file, or of a link to one.

    Args:
        path: The file.
        max_bytes: The largest size.

    Raises:
        FileNotFoundError: There is no such file.
        NotAPlainFileError: It is another kind of entry, or too large.
        OSError: It cannot be read.
    """
    # Without waiting for a writer, if the path is a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _check(os.fstat(descriptor), max_bytes)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> bool:
    """Rename an entry, so that its name is free; return whether that succeeded. Nothing is overwritten."""
    for number in count(1):
        beside = path.with_name(f"{path.stem}{ASIDE}" if number == 1 else f"{path.stem}{ASIDE}-{number}")
        if not beside.exists() and not beside.is_symlink():
            break
    try:
        path.rename(beside)
    except OSError:
        return False
    return True


def _check(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotAPlainFileError("it is not a file")
    if status.st_size > max_bytes:
        raise NotAPlainFileError(f"it has {status.st_size} bytes, more than {max_bytes}")
