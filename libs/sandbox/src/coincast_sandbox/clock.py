"""The sandbox's own clock: the machine's time of day on a day of the sandbox's choosing."""

import math
import time
from collections.abc import Callable
from datetime import date

from coincast_sandbox.simulation.candles import day_number


class SandboxClock:
    """Now, in UNIX seconds, moved by a whole number of days that stays the same while the process lives."""

    def __init__(self, today: date | None = None, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        days = 0 if today is None else day_number(today) - math.floor(wall() / 86400)
        self.offset_seconds = days * 86400.0

    def now(self) -> float:
        """UNIX seconds on the sandbox's own calendar."""
        return self._wall() + self.offset_seconds

    def today(self) -> int:
        """The current UTC day, counted from 1970-01-01."""
        return math.floor(self.now() / 86400)
