"""The quota as pure functions: a sliding minute, a month, a pause, and a limit that refusals lower.

`acquire.lua` is the same rule in Redis; a property test compares the two.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from coincast_chassis.clock import Clock
from coincast_market_data.ports import Priority

# The upstream counts arrivals, this code departures; one more second allows for the time in transit.
WINDOW_SECONDS = 61.0
RECOVERY_SECONDS = 600.0
# The share of the minute and of the month that each priority may use; the rest is reserved for higher
# priorities.
MINUTE_SHARE = {
    Priority.LIVE: 1.0,
    Priority.HISTORY: 0.9,
    Priority.BULK: 0.8,
    Priority.REFRESH: 0.8,
    Priority.BACKFILL: 0.5,
}
MONTH_SHARE = {
    Priority.LIVE: 1.0,
    Priority.HISTORY: 1.0,
    Priority.BULK: 0.9,
    Priority.REFRESH: 0.9,
    Priority.BACKFILL: 0.7,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls a minute and a month; 0 a month is no limit. The window is the upstream's minute."""

    per_minute: int
    per_month: int
    window_seconds: float = WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A reading of both clocks.

    `at` in monotonic seconds measures the minute and the pause, whatever happens to the wall clock; `wall` in
    UNIX seconds determines the month.
    """

    at: float
    wall: float


def read_clock(clock: Clock) -> ClockReading:
    """Read the clock."""
    return ClockReading(clock.monotonic(), clock.now())


@dataclass(frozen=True, slots=True)
class AcquireResult:
    """Whether a call may go, and what is left of the quota.

    If it may not, the result says after how many seconds to try again.
    """

    granted: bool
    wait_seconds: float
    minute_used: int
    minute_limit: int
    month_used: int
    paused_seconds: float


def month_of(now: ClockReading) -> str:
    """Return the UTC month of a moment."""
    return datetime.fromtimestamp(now.wall, UTC).strftime("%Y-%m")


class QuotaWindow:
    """One process's view of the quota; the caller passes the time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._calls: deque[float] = deque()
        self._paused_until = float("-inf")
        self._factor, self._factor_at = 1.0, 0.0
        self._month, self._month_used = "", 0

    def try_acquire(self, now: ClockReading, priority: Priority) -> AcquireResult:
        """Grant and count one call, or say how long to wait."""
        self._expire(now)
        result = self._judge(now, priority)
        if result.granted:
            self.record(now)
        return result

    def usage(self, now: ClockReading) -> AcquireResult:
        """Return the state without requesting a call."""
        self._expire(now)
        return self._judge(now, Priority.LIVE)

    def record(self, now: ClockReading) -> None:
        """Count a call that was granted elsewhere."""
        self._calls.append(now.at)
        self._month_used += 1

    def refused(self, now: ClockReading, retry_after_seconds: float) -> None:
        """Pause after a 429, and halve the limit, which recovers over ten minutes.

        Args:
            now: Current time.
            retry_after_seconds: The pause that the upstream requested.
        """
        self.pause(now, retry_after_seconds)
        self._factor = max(self._factor_now(now) / 2, 1 / max(1, self.limits.per_minute))
        self._factor_at = now.at

    def pause(self, now: ClockReading, seconds: float) -> None:
        """Pause all grants for this time; a longer known pause stays."""
        self._paused_until = max(self._paused_until, now.at + seconds)

    def paused_seconds(self, now: ClockReading) -> float:
        """Return the seconds left of the pause."""
        return max(0.0, self._paused_until - now.at)

    def used(self, now: ClockReading) -> int:
        """Return the calls in the minute that ends now."""
        self._expire(now)
        return len(self._calls)

    def _expire(self, now: ClockReading) -> None:
        while self._calls and self._calls[0] <= now.at - self.limits.window_seconds:
            self._calls.popleft()
        month = month_of(now)
        if month != self._month:
            self._month, self._month_used = month, 0

    def _factor_now(self, now: ClockReading) -> float:
        return min(1.0, self._factor + max(0.0, now.at - self._factor_at) / RECOVERY_SECONDS)

    def _judge(self, now: ClockReading, priority: Priority) -> AcquireResult:
        lowered = int(self.limits.per_minute * self._factor_now(now) + 1e-9)
        limit = max(min(1, self.limits.per_minute), lowered)
        allowed = int(limit * MINUTE_SHARE[priority] + 1e-9)
        paused = self.paused_seconds(now)
        wait = paused
        if not paused and self._month_spent(priority):
            wait = 3600.0
        elif not paused and len(self._calls) >= allowed:
            wait = self._until_free(now, allowed)
        return AcquireResult(
            granted=wait <= 0,
            wait_seconds=wait,
            minute_used=len(self._calls),
            minute_limit=limit,
            month_used=self._month_used,
            paused_seconds=paused,
        )

    def _month_spent(self, priority: Priority) -> bool:
        budget = self.limits.per_month
        return budget > 0 and self._month_used >= int(budget * MONTH_SHARE[priority] + 1e-9)

    def _until_free(self, now: ClockReading, allowed: int) -> float:
        if allowed < 1:
            return self.limits.window_seconds
        oldest_that_must_go = self._calls[len(self._calls) - allowed]
        return max(0.001, oldest_that_must_go + self.limits.window_seconds - now.at)


@dataclass(frozen=True, slots=True)
class ScriptReply:
    """The numbers in the order of `acquire.lua`; times in milliseconds."""

    granted: int
    wait_ms: int
    minute_used: int
    minute_limit: int
    month_used: int
    paused_ms: int
    replicas: int
    reserve: int
    # When this Redis began to count; the number changes when Redis restarts without data.
    born: int
    settled: int

    def result(self) -> AcquireResult:
        """Build the result for the caller."""
        return AcquireResult(
            granted=bool(self.granted),
            wait_seconds=self.wait_ms / 1000,
            minute_used=self.minute_used,
            minute_limit=self.minute_limit,
            month_used=self.month_used,
            paused_seconds=self.paused_ms / 1000,
        )
