"""Local quota while Redis is unavailable.

It is the reserve that Redis held for this process, so that replicas together respect the plan even where
Redis still answers the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from coincast_market_data.ports import Priority
from coincast_market_data.rate_limit.sliding_window import (
    AcquireResult,
    ClockReading,
    Limits,
    QuotaWindow,
    ScriptReply,
    month_of,
)

# After this time without Redis, it is assumed to be away for all replicas: calls that leave the minute are
# free again.
SLOW_SECONDS = 5.0
ASK_AGAIN_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class OfflineCall:
    """A call not yet reported to Redis: made without it, or requested from it and then not made."""

    member: str
    at: float
    made: bool
    # After a restart without data, Redis already has the sum of the month and gets the calls of the minute.
    counted: bool = False


@dataclass(frozen=True, slots=True)
class UnreportedCalls:
    """Calls that Redis has not recorded, or should not record.

    Calls before the window (how many) and within it, and how often the upstream refused.
    """

    old: int
    calls: Sequence[OfflineCall]
    refusals: int


@dataclass(slots=True)
class InFlightScripts:
    """Concurrent script calls, whose execution order in Redis is unknown."""

    spent_before: int
    least: int = 2**53
    lost: bool = False


class LocalFallback:
    """Limits calls by the number of replicas and this one's reserve, as last reported by Redis.

    Args:
        limits: The plan's limits.
        replicas: The smallest number of replicas that may be.
        siblings: Counts the replicas that can be seen without Redis.
    """

    def __init__(self, limits: Limits, replicas: int, siblings: Callable[[], int] = lambda: 1) -> None:
        self._limits = limits
        self._least_replicas = replicas
        self._reported = 1
        self._siblings = siblings
        self._unreported: list[OfflineCall] = []
        self._old = self._refusals = 0
        self._made: deque[OfflineCall] = deque()
        self._month = ("", 0)
        self.born: int | None = None
        self._answered_at = float("-inf")
        self._own_then = 0
        self._reserve = self._spent_then = 0
        # Calls granted here so far.
        self.spent = 0
        self.window = QuotaWindow(self._share(ClockReading(0.0, 0.0)))

    def use_limits(self, limits: Limits) -> None:
        """Take other limits from now on."""
        self._limits = limits

    @property
    def replicas(self) -> int:
        """Return by how many replicas the plan is divided without Redis: the most that any source names."""
        return max(self._least_replicas, self._reported, self._siblings())

    @property
    def reserve(self) -> int:
        """Calls of the reserve that may still be granted while Redis may be answering other replicas."""
        return max(0, self._reserve - (self.spent - self._spent_then))

    def learn(
        self, now: ClockReading, reply: ScriptReply, together: InFlightScripts, *, granted: int, surely: bool
    ) -> None:
        """Learn this process's reserve from a reply of Redis.

        A larger reserve is accepted only if `surely` all concurrent scripts are answered, since each may have
        made it smaller again; and then the smallest of them.

        Args:
            now: Time of the reply.
            reply: The reply of the script.
            together: The scripts that ran concurrently.
            granted: Calls that the reply granted.
            surely: Whether all concurrent scripts have answered.
        """
        if self.born is not None and reply.born != self.born:
            # Redis restarted without data and needs every call of the minute; each name counts once.
            new = {own.member for own in self._unreported}
            self._unreported += [replace(own, counted=True) for own in self._made if own.member not in new]
        self.born = reply.born
        # A pause stays valid after a restart of the Redis that reported it.
        self.window.pause(now, reply.paused_ms / 1000)
        if not reply.settled:
            return
        # Until Redis is settled, it may not have counted all replicas.
        self._reported = reply.replicas
        self._month = (month_of(now), reply.month_used + granted)
        self._answered_at = now.at
        self._own_then = self.window.used(now)
        reserve = together.least if surely else reply.reserve
        if surely or reserve - (self.spent - together.spent_before) <= self.reserve:
            self._reserve, self._spent_then = reserve, together.spent_before

    def refused(self, now: ClockReading, retry_after_seconds: float) -> None:
        """Record that the upstream answered 429, which Redis does not know yet."""
        self.window.refused(now, retry_after_seconds)
        self._refusals += 1

    def remember(self, member: str, now: ClockReading) -> None:
        """Record a call that Redis granted."""
        self.window.record(now)
        self._note(OfflineCall(member, now.at, made=True))

    def month_used(self, now: ClockReading) -> int:
        """Return the calls of all replicas this month, as last reported; 0 in a new month."""
        month, used = self._month
        return used if month == month_of(now) else 0

    def _note(self, own: OfflineCall) -> None:
        self._made.append(own)
        while self._made[0].at <= own.at - self._limits.window_seconds:
            self._made.popleft()

    def try_acquire(self, now: ClockReading, priority: Priority, member: str) -> AcquireResult:
        """Grant and count one call out of this process's share; `member` is its name in Redis.

        Args:
            now: Current time.
            priority: Share of the quota that the call may use.
            member: Name of the call in Redis.
        """
        self.window.limits = self._share(now)
        if now.at - self._answered_at < SLOW_SECONDS and not self.reserve:
            seen = self.window.usage(now)
            return replace(seen, granted=False, wait_seconds=max(seen.paused_seconds, ASK_AGAIN_SECONDS))
        result = self.window.try_acquire(now, priority)
        if result.granted:
            self.spent += 1
            self._age(now)
            own = OfflineCall(member, now.at, made=True)
            self._unreported.append(own)
            self._note(own)
        return result

    def cancel(self, now: ClockReading, member: str) -> None:
        """Cancel a call that Redis may yet grant but that will not be made."""
        self._unreported.append(OfflineCall(member, now.at, made=False))

    def take_unreported(self, now: ClockReading) -> UnreportedCalls:
        """Take what the next script is to report to Redis."""
        self._age(now)
        taken = UnreportedCalls(self._old, self._unreported, self._refusals)
        self._old = self._refusals = 0
        self._unreported = []
        return taken

    def put_back(self, unreported: UnreportedCalls) -> None:
        """Restore what could not be reported."""
        self._old += unreported.old
        self._refusals += unreported.refusals
        self._unreported = [*unreported.calls, *self._unreported]

    def _age(self, now: ClockReading) -> None:
        """Expire calls that left the window.

        They count only for the month; a call that was not made is removed from every count.
        """
        start = now.at - self._limits.window_seconds
        self._old += sum(own.made and own.at <= start for own in self._unreported)
        self._unreported = [own for own in self._unreported if own.at > start]

    def _share(self, now: ClockReading) -> Limits:
        replicas = self.replicas
        month = self._limits.per_month // replicas
        share = self._limits.per_minute // replicas
        if now.at - self._answered_at < self._limits.window_seconds:
            # All replicas spent part of the minute in which Redis was lost: this process only has its reserve
            # of that time.
            share = min(share, self._own_then + self._reserve)
        return replace(self._limits, per_minute=max(share, 0), per_month=month)
