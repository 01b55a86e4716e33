"""Time as a dependency: the system's, or one that a test moves by hand."""

from __future__ import annotations

import time
from functools import cache
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for what is measured."""

    def now(self) -> float:
        """Return UNIX seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    # The functions themselves: a method around each would double the cost of reading a clock.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class SteadyClock:
    """A wall clock that is read once and then follows the monotonic clock, so that steps change nothing.

    Ages, windows and the day stay right when the machine's clock is set, whichever way. Time for which the
    machine was suspended counts where the system tells it.

    Args:
        clock: The clocks to follow.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boot = getattr(time, "CLOCK_BOOTTIME", None) if isinstance(clock, SystemClock) else None
        self._wall_then, self._then = clock.now(), self.monotonic()

    def now(self) -> float:
        """Return UNIX seconds, as the wall clock said at the start."""
        return self._wall_then + self.monotonic() - self._then

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back."""
        return self._clock.monotonic() if self._boot is None else time.clock_gettime(self._boot)

    def wall(self) -> float:
        """Return UNIX seconds on the wall clock as it stands now; it may step."""
        return self._clock.now()


@cache
def steady_clock() -> SteadyClock:
    """Return the clock of this process, which every part of a service shares: read once, then steady."""
    return SteadyClock(SystemClock())


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        """Return UNIX seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds since this clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks on."""
        self._now += seconds
        self._monotonic += seconds

    def set_wall(self, now: float) -> None:
        """Step only the wall clock, as NTP may."""
        self._now = now
