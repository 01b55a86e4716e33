"""Write files durably: after a crash a file holds its old content or its new one, never a part.

    replace_file(path, content)                       # bytes
    with replacing(path) as file: table.to(file)      # a writer that wants a file object
    append_durably(descriptor, lines)                 # a log of records

When a function returns, its data has reached the disk (fsync of the file and of its folder). All functions
block: call them in a thread from asyncio code.

A process that is killed while it writes leaves a temporary file. The next write into that folder removes it,
once it is too old to be one that another process writes now.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY_PREFIX = ".writing-"
# The prefix, and what `tempfile` adds to it.
TEMPORARY_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r"[a-z0-9_]{8}")
LONGEST_WRITE_SECONDS = 3600.0


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
    _remove_leftovers(path.parent)


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes; what cannot be removed stays."""
    oldest = time.time() - LONGEST_WRITE_SECONDS
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        Path(entry.path).unlink()


def replace_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Create or replace a file.

    Args:
        path: The file; its folder must exist.
        content: The new content.
        mode: Permissions of the new file.
    """
    with replacing(path, mode=mode) as file:
        file.write(content)


def append_durably(descriptor: int, content: bytes) -> None:
    """Append to an open file and sync it; if that fails, remove the part that was written.

    Args:
        descriptor: A file that is opened for appending.
        content: The bytes to append; the disk may take them in parts when it is nearly full.

    Raises:
        OSError: The whole content could not be written.
    """
    before = os.fstat(descriptor).st_size
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, before)
        raise
