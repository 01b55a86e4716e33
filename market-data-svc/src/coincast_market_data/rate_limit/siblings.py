"""Count the replicas that share an archive folder, without Redis.

Each replica locks a file of its own in a common folder. The operating system releases the lock when the
process ends, also after a crash. Replicas with separate folders cannot be counted so; `MARKET_REPLICAS`
states their number.
"""

from __future__ import annotations

import fcntl
import uuid
from pathlib import Path
from typing import IO

import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.observability.error_text import without_path

log = structlog.get_logger(__name__)
# How long a count is cached.
COUNT_SECONDS = 1.0
SUFFIX = ".lock"


class SiblingCounter:
    """Counts the processes that have joined a folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._own: IO[bytes] | None = None
        self._own_name = f"{uuid.uuid4().hex}{SUFFIX}"
        self._count, self._counted_at = 1, float("-inf")

    def join(self) -> None:
        """Join the folder; if it cannot be used, the count is 1."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # The file is locked before it gets its name. Otherwise another replica could find it unlocked and
            # remove it as the file of an ended process.
            unnamed = self._folder / f".{self._own_name}"
            self._own = unnamed.open("wb")
            fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(self._folder / self._own_name)
        except OSError as error:
            log.warning("siblings_not_counted", reason=without_path(error))
            self.leave()

    def leave(self) -> None:
        """Leave the folder."""
        if self._own is not None:
            (self._folder / self._own_name).unlink(missing_ok=True)
            self._own.close()
            self._own = None

    def count(self) -> int:
        """Return the number of replicas in the folder, this one included."""
        now = self._clock.monotonic()
        if self._own is not None and now - self._counted_at >= COUNT_SECONDS:
            self._count, self._counted_at = 1 + self._count_others(), now
        return self._count

    def _count_others(self) -> int:
        try:
            paths = [path for path in self._folder.glob(f"*{SUFFIX}") if path.name != self._own_name]
        except OSError:
            return 0
        return sum(_is_held(path) for path in paths if not path.name.startswith("."))


def _is_held(path: Path) -> bool:
    """Return whether a process has locked the file; an unlocked file is removed, as its process has ended."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
