"""Audit log: one JSON line for each move, appended and synced before the move is made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from coincast_training.domain import AuditEntry


class AuditLog:
    """An append-only file that all models share. Callers hold the registry's lock while they append."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entry: AuditEntry) -> None:
        """Append one line and wait until the disk has it.

        Raises:
            OSError: The disk cannot take the whole line; no part of it remains then.
        """
        line = (json.dumps(asdict(entry), ensure_ascii=False) + "\n").encode()
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        before = os.fstat(file).st_size
        try:
            if self._torn():
                line = b"\n" + line
            _write_all(file, line)
            os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise
        finally:
            os.close(file)

    def _torn(self) -> bool:
        """Return whether an earlier writer died within its line."""
        size = self._path.stat().st_size
        if size == 0:
            return False
        with self._path.open("rb") as file:
            file.seek(size - 1)
            return file.read(1) != b"\n"

    def entries(self, model: str = "") -> Iterator[AuditEntry]:
        """Yield the entries, oldest first, skipping a line that a crash cut short."""
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                entry = _parsed(line)
                if entry is not None and model in ("", entry.model):
                    yield entry


def _write_all(file: int, content: bytes) -> None:
    """Write all of the content: a nearly full disk writes a part and fails only on the next write."""
    while content:
        content = content[os.write(file, content) :]


def _parsed(line: str) -> AuditEntry | None:
    try:
        return AuditEntry(**json.loads(line))
    except (ValueError, TypeError):
        return None
