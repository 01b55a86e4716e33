"""Read files on disk that may not be what a service expects: folders, pipes, links to nothing, huge files.

Such a stray entry must not stop the service: a pipe must not be opened as a file, since that waits for a
writer. It is skipped and named in the log once, by its folder and name, never by its absolute path.
`coincast_modelkit.durable_files` writes files.
"""

from __future__ import annotations

import os
import stat
from itertools import count
from pathlib import Path

from coincast_chassis.observability.logs import get_logger

log = get_logger("coincast.strays")
MAX_NAMED_ENTRIES = 10_000
ASIDE = ".unreadable"


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
