"""The audit log: one line of JSON a move, appended and synced before the move is made."""

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
        """Adds one line and waits until the disk has it. Raises `OSError` where the disk cannot take all of
        it; nothing of it stays then.
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
        """Whether an earlier writer died in the middle of its line."""
        size = self._path.stat().st_size
        if size == 0:
            return False
        with self._path.open("rb") as file:
            file.seek(size - 1)
            return file.read(1) != b"\n"

    def entries(self, model: str = "") -> Iterator[AuditEntry]:
        """The entries, oldest first; a line that was torn by a crash is passed over."""
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                entry = _parsed(line)
                if entry is not None and model in ("", entry.model):
                    yield entry


def _write_all(file: int, content: bytes) -> None:
    """A disk that is nearly full takes a part and refuses the rest only when it is offered again."""
    while content:
        content = content[os.write(file, content) :]


def _parsed(line: str) -> AuditEntry | None:
    try:
        return AuditEntry(**json.loads(line))
    except (ValueError, TypeError):
        return None
