"""Audit log: one JSON line for each change, written to disk before the change is made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import StrayLog, check_plain_file
from coincast_modelkit.durable_files import append_durably
from coincast_training.domain import AuditEntry

MAX_BYTES = 1024 * 1024 * 1024
# Longer lines are no entries: a reason has at most 2,000 characters.
MAX_LINE = 100_000
# Revisions are 32-bit numbers in the contract; times in seconds stay below as well until 2106.
MAX_NUMBER = 2**32
strays = StrayLog("audit_log_unreadable")


class AuditLog:
    """An append-only file of all models; callers must hold the lock of the registry to append."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entry: AuditEntry) -> None:
        """Append one line and sync it to disk.

        Raises:
            OSError: The whole line cannot be written; the part that was written is removed.
        """
        line = (json.dumps(asdict(entry), ensure_ascii=False) + "\n").encode()
        # O_NONBLOCK: a pipe in the place of the file is refused at once.
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o644)
        try:
            append_durably(file, b"\n" + line if self._ends_incomplete() else line)
        finally:
            os.close(file)

    def _ends_incomplete(self) -> bool:
        """Return whether the last line is incomplete, since its writer died."""
        size = self._path.stat().st_size
        if size == 0:
            return False
        with self._path.open("rb") as file:
            file.seek(size - 1)
            return file.read(1) != b"\n"

    def entries(self, model: str = "") -> Iterator[AuditEntry]:
        """Yield the entries of one model or of all, the oldest first; skip lines that are no entries.

        A path that is no file is named once and has no entries.
        """
        try:
            check_plain_file(self._path, max_bytes=MAX_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            strays.name(self._path, without_path(error))
            return
        with self._path.open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(MAX_LINE):
                entry = _parse(line)
                if entry is not None and model in ("", entry.model):
                    yield entry


def _parse(line: str) -> AuditEntry | None:
    try:
        entry = AuditEntry(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (entry.requested_by, entry.model, entry.action, entry.alias, entry.from_version, entry.to_version)
    numbers = (entry.at, entry.revision)
    valid = (
        all(isinstance(text, str) for text in (*texts, entry.reason))
        and all(isinstance(number, int | float) and 0 <= number < MAX_NUMBER for number in numbers)
        and isinstance(entry.revision, int)
        and isinstance(entry.forced, bool)
    )
    return entry if valid else None
