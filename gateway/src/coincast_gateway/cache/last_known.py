"""Stale-if-error cache: the last good response to each request, served while its service is down."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import FIFOCache

from coincast_chassis.clock import Clock

# A forecast of yesterday's close is of use for a day; after that it answers another question.
MAX_AGE_SECONDS = 24 * 3600.0
# Bytes of an entry beside its body and its key.
ENTRY_BYTES = 400


@dataclass(frozen=True, slots=True)
class LastKnown:
    """A body, and when it was stored on the monotonic clock."""

    body: bytes
    stored_at: float


class LastKnownResponses:
    """Bodies by question, bounded by their bytes, oldest out first.

    Args:
        max_bytes: The memory of all of them.
        clock: Its monotonic time decides how old an entry is, so that a wall clock that is set makes none
            younger.
    """

    def __init__(self, *, max_bytes: int, clock: Clock) -> None:
        self._entries: FIFOCache[str, LastKnown] = FIFOCache(
            max_bytes, getsizeof=lambda entry: ENTRY_BYTES + len(entry.body)
        )
        self._clock = clock

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Return the memory of the entries."""
        return int(self._entries.currsize)

    def store(self, question: str, body: bytes) -> None:
        """Store a body as the last good one; a body that is larger than the bound is not stored."""
        self._entries.pop(question, None)
        if ENTRY_BYTES + len(body) <= self._entries.maxsize:
            self._entries[question] = LastKnown(body, self._clock.monotonic())

    def find(self, question: str) -> tuple[bytes, float] | None:
        """Return the last good body and its age in seconds; None where there is none, or it is too old."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        age_seconds = self._clock.monotonic() - entry.stored_at
        return (entry.body, age_seconds) if age_seconds <= MAX_AGE_SECONDS else None
