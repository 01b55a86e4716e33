"""Append what was served to a log once, however often it is served, and wait for it a moment only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from coincast_forecast.lru import Lru

Entry = TypeVar("Entry")
Entry_contra = TypeVar("Entry_contra", contravariant=True)
REMEMBERED = 20_000
WAIT_SECONDS = 1.0


class EntryLog(Protocol[Entry_contra]):
    """A log of entries."""

    async def append(self, entries: Sequence[Entry_contra]) -> bool:
        """Write entries and return whether the log holds them now."""
        ...


@dataclass(frozen=True, slots=True)
class Appendable(Generic[Entry]):
    """Something with a key that the log is to hold up to a horizon.

    Attributes:
        key: What is the same for the same forecast or statement.
        longest: The longest horizon that was served, in days or in hours.
        make: Returns the entries after a horizon, which the log holds already.
    """

    key: str
    longest: int
    make: Callable[[int], list[Entry]]


class AppendOnce(Generic[Entry]):
    """Appends each key once for each horizon, and lets requests for the same key share one write."""

    def __init__(
        self,
        log: EntryLog[Entry],
        on_error: Callable[[Sequence[Appendable[Entry]]], None],
        *,
        batch: int,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Store the log.

        Args:
            log: Where entries are written.
            on_error: Counts and logs what an exception, the current one, left out.
            batch: Keys in one write.
            wait_seconds: A request waits at most so long for a write, which goes on.
        """
        self._log, self._on_error = log, on_error
        self._batch, self._wait_seconds = batch, wait_seconds
        self._logged: Lru[str, int] = Lru(REMEMBERED)
        self._flights: dict[str, asyncio.Task[None]] = {}

    def contains(self, key: str, longest: int) -> bool:
        """Return whether the log holds a key up to a horizon."""
        return (self._logged.get(key) or 0) >= longest

    def missing(self, wanted: Iterable[Appendable[Entry]]) -> list[Appendable[Entry]]:
        """Return what the log does not hold up to its longest horizon."""
        return [one for one in wanted if not self.contains(one.key, one.longest)]

    async def append(
        self, wanted: Sequence[Appendable[Entry]], *, admit: Callable[[int], bool] | None = None
    ) -> None:
        """Append what is missing.

        Args:
            wanted: What was served.
            admit: Returns whether so many keys may be written; None admits all.
        """
        missing = self.missing(wanted)
        flights = {self._flights[one.key] for one in missing if one.key in self._flights}
        if flights:
            await asyncio.wait(flights, timeout=self._wait_seconds)
            missing = self.missing(missing)
        if not missing or (admit is not None and not admit(len(missing))):
            return
        task = asyncio.create_task(self._write(missing))
        for one in missing:
            self._flights[one.key] = task
        task.add_done_callback(lambda _: self._remove_flights(missing, task))
        await asyncio.wait([task], timeout=self._wait_seconds)

    async def _write(self, missing: Sequence[Appendable[Entry]]) -> None:
        for start in range(0, len(missing), self._batch):
            batch = missing[start : start + self._batch]
            try:
                entries = [entry for one in batch for entry in one.make(self._logged.get(one.key) or 0)]
                appended = await self._log.append(entries)
            except Exception:
                self._on_error(batch)
                continue
            if not appended:
                return
            for one in batch:
                self._logged.put(one.key, max(one.longest, self._logged.get(one.key) or 0))

    def _remove_flights(self, missing: Sequence[Appendable[Entry]], task: asyncio.Task[None]) -> None:
        for one in missing:
            if self._flights.get(one.key) is task:
                del self._flights[one.key]
