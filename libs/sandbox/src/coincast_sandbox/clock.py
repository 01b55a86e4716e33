"""The sandbox's clock: the system's time of day, shifted by a whole number of days."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import date

from coincast_sandbox.simulation.candles import day_number


class SandboxClock:
    """A clock in UNIX seconds with a constant shift."""

    def __init__(self, today: date | None = None, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        days = 0 if today is None else day_number(today) - math.floor(wall() / 86400)
        self.offset_seconds = days * 86400.0

    def now(self) -> float:
        """Return UNIX seconds on the sandbox's calendar."""
        return self._wall() + self.offset_seconds

    def today(self) -> int:
        """Return the current UTC day, counted from 1970-01-01."""
        return math.floor(self.now() / 86400)
