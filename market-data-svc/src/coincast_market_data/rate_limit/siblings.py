"""Count the replicas that share an archive folder, without Redis.

Each replica holds a lock on a file of its own in one folder. The system releases the lock of a process that
ends in whatever way, so that nothing depends on clocks or on a clean end. Replicas with folders of their own
do not see each other: `MARKET_REPLICAS` counts those.
"""

from __future__ import annotations

import fcntl
import uuid
from pathlib import Path
from typing import IO

import structlog

from coincast_chassis.clock import Clock

log = structlog.get_logger(__name__)
# How long a count is used. Reading the folder takes well below a millisecond.
COUNT_SECONDS = 1.0
SUFFIX = ".lock"


class SiblingCounter:
    """Counts the processes that have joined the same folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._own: IO[bytes] | None = None
        self._own_name = f"{uuid.uuid4().hex}{SUFFIX}"
        self._count, self._counted_at = 1, float("-inf")

    def join(self) -> None:
        """Take part in the count; where the folder cannot be used, this replica counts itself alone."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Lock the file before it gets its name, or another replica takes its process for ended.
            unnamed = self._folder / f".{self._own_name}"
            self._own = unnamed.open("wb")
            fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(self._folder / self._own_name)
        except OSError as error:
            log.warning("siblings_not_counted", reason=error.strerror or str(error))
            self.leave()

    def leave(self) -> None:
        """Leave the count."""
        if self._own is not None:
            (self._folder / self._own_name).unlink(missing_ok=True)
            self._own.close()
            self._own = None

    def count(self) -> int:
        """Return how many replicas there are, this one included."""
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
    """Return whether a process holds the file; the file of one that ended is removed."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
