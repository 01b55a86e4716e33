"""Clocks that are passed as dependencies: the system's clock, or one that a test advances by hand."""

from __future__ import annotations

import time
from functools import cache
from typing import Protocol


class Clock(Protocol):
    """A wall clock for stored times and a monotonic clock for measured durations."""

    def now(self) -> float:
        """Return UNIX seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    # Bound directly to the functions of `time`: a wrapping method would double the cost of reading a clock.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class SteadyClock:
    """A wall clock that is read once and then follows the monotonic clock, so that it never steps.

    Ages, windows and the current day stay right when the system clock is set forward or back. Time during
    which the machine was suspended is counted on systems that have CLOCK_BOOTTIME.

    Args:
        clock: The clocks to follow.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boot = getattr(time, "CLOCK_BOOTTIME", None) if isinstance(clock, SystemClock) else None
        self._wall_then, self._then = clock.now(), self.monotonic()

    def now(self) -> float:
        """Return UNIX seconds: the wall time at the start plus the monotonic time since then."""
        return self._wall_then + self.monotonic() - self._then

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back."""
        return self._clock.monotonic() if self._boot is None else time.clock_gettime(self._boot)

    def wall(self) -> float:
        """Return UNIX seconds as the system's wall clock shows them now; this value may step."""
        return self._clock.now()


@cache
def steady_clock() -> SteadyClock:
    """Return the steady clock that all parts of this process share."""
    return SteadyClock(SystemClock())


class ManualClock:
    """A clock for tests: its time changes only through `advance` and `set_wall`."""

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
        """Advance both clocks."""
        self._now += seconds
        self._monotonic += seconds

    def set_wall(self, now: float) -> None:
        """Step only the wall clock, as NTP may."""
        self._now = now
