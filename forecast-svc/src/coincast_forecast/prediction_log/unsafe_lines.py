"""Keep the lines of the log that Redis has confirmed and can still lose if it is killed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

# With `appendfsync everysec`, Redis may answer before the line is in its file: usually it is there at once,
# while the disk is busy up to two seconds later, and the sync follows within another second.
UNSAFE_SECONDS = 10.0
MAX_UNSAFE_BYTES = 32 * 1024 * 1024


class UnsafeLines:
    """The lines that Redis has confirmed so recently that it can still lose them if it is killed.

    A reader deduplicates by the ids of the lines, so a line may be delivered again at any time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._added: deque[tuple[float, Sequence[str]]] = deque()
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether lines must go to the disk, since so many are kept here that memory is in danger."""
        return self._bytes >= MAX_UNSAFE_BYTES

    def now(self) -> float:
        """Return the time on the clock of `forget`, in seconds."""
        return self._clock()

    def add(self, lines: Sequence[str]) -> None:
        """Keep lines that Redis has just confirmed."""
        if lines:
            self._added.append((self._clock(), lines))
            self._bytes += _length(lines)

    def forget(self, as_of: float) -> None:
        """Drop what is safe, given that the Redis process that confirmed it still ran at `as_of`."""
        while self._added and self._added[0][0] + UNSAFE_SECONDS <= as_of:
            self._bytes -= _length(self._added.popleft()[1])

    def take(self) -> list[str]:
        """Return all lines, oldest first, and keep none."""
        lines = [line for _, added in self._added for line in added]
        self._added.clear()
        self._bytes = 0
        return lines


def _length(lines: Sequence[str]) -> int:
    return sum(map(len, lines))
