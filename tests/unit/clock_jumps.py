"""Jumps of a machine's wall clock, and a service's clock that meets them."""

from __future__ import annotations

from coincast_chassis.clock import ManualClock, SteadyClock

HOUR, DAY, YEAR = 3600.0, 86_400.0, 365 * 86_400.0
JUMPS = [sign * span for span in (HOUR, DAY, YEAR) for sign in (1, -1)]


class JumpingClock(ManualClock):
    """A machine's clocks, of which the wall clock jumps; `steady` is what a service makes of them."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        super().__init__(now)
        self.steady = SteadyClock(self)

    def jump(self, seconds: float) -> None:
        """Set the wall clock on or back."""
        self.set_wall(self.now() + seconds)
