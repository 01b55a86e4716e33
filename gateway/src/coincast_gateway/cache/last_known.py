"""Stale-if-error cache: the last good response to each request, served while its service is down."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import FIFOCache

from coincast_chassis.clock import Clock

# A forecast from yesterday's close is useful for a day. After that its horizons describe days in the past.
MAX_AGE_SECONDS = 24 * 3600.0
# Bytes of an entry beside its body and its key.
ENTRY_BYTES = 400


@dataclass(frozen=True, slots=True)
class LastKnown:
    """A response body, and the monotonic seconds at which it was stored."""

    body: bytes
    stored_at: float


class LastKnownResponses:
    """Response bodies by request, bounded by their bytes; the oldest are evicted first.

    Args:
        max_bytes: The memory of all entries.
        clock: Its monotonic time decides the age of an entry, so that setting the wall clock back makes none
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

    def store(self, request: str, body: bytes) -> None:
        """Store the body of a good response, unless it exceeds the memory of the cache.

        Args:
            request: A text that identifies the request.
            body: The body of the response.
        """
        self._entries.pop(request, None)
        if ENTRY_BYTES + len(body) <= self._entries.maxsize:
            self._entries[request] = LastKnown(body, self._clock.monotonic())

    def find(self, request: str) -> tuple[bytes, float] | None:
        """Return the last good body and its age in seconds; None if there is none younger than a day."""
        entry = self._entries.get(request)
        if entry is None:
            return None
        age_seconds = self._clock.monotonic() - entry.stored_at
        return (entry.body, age_seconds) if age_seconds <= MAX_AGE_SECONDS else None
