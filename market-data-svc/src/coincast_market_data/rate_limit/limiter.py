"""Rate limiter for upstream calls: one quota for all replicas, counted in Redis.

The rule is a sliding minute, a month, a pause, and a limit that refusals lower. `QuotaWindow` has it as
pure functions and `acquire.lua` in Redis; a property test compares the two. While Redis is unavailable each
process spends the reserve that Redis held for it (`LocalFallback`), so that replicas together respect the
plan even where Redis still answers the others.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import redis.asyncio
from redis.commands.core import AsyncScript

from coincast_chassis.clock import Clock
from coincast_chassis.errors import Exhausted
from coincast_market_data import metrics
from coincast_market_data.ports import Priority
from coincast_market_data.redis_executor import RedisExecutor

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


# Interval of the heartbeats to Redis, and so the maximum age of the reserve of a replica that sends nothing
# else.
BEAT_SECONDS = 1.0
KEYS = ("calls", "state", "replicas", "reserves")
SCRIPT = resources.files(__package__).joinpath("acquire.lua").read_text()


class RateLimiter:
    """`acquire` returns when a call may go, or raises Exhausted with the time after which it might."""

    def __init__(
        self,
        limits: Limits,
        *,
        replicas: int,
        clock: Clock,
        executor: RedisExecutor,
        client: redis.asyncio.Redis | None,
        prefix: str,
        siblings: Callable[[], int] = lambda: 1,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._executor = executor
        self._script = client.register_script(SCRIPT) if client is not None else None
        self._keys = [f"{prefix}quota:{{plan}}:{name}" for name in KEYS]
        self._name = uuid.uuid4().hex
        self._replicas = replicas
        self._fallback = LocalFallback(limits, replicas, siblings)
        self._under_way = 0
        self._in_flight = InFlightScripts(0)
        self._heartbeat: asyncio.Task[None] | None = None
        self._waiting: Counter[Priority] = Counter()
        # When the next call of a priority may start, monotonic seconds.
        self._turn_at: dict[Priority, float] = {}
        self.shared = client is not None

    def start(self) -> None:
        """Start the heartbeat that keeps this replica's quota reservation in Redis."""
        if self._script is not None and self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._send_heartbeats())

    async def _send_heartbeats(self) -> None:
        while True:
            await self._run("look", Priority.LIVE, "")
            await asyncio.sleep(BEAT_SECONDS)

    async def aclose(self) -> None:
        """Return this process's reserve to the other replicas."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)
        await self._run("leave", Priority.LIVE, "")

    @property
    def limits(self) -> Limits:
        """The plan's limits."""
        return self._limits

    def use_limits(self, limits: Limits) -> None:
        """Take other limits from now on; the calls of the current window stay counted."""
        self._limits = limits
        self._fallback.use_limits(limits)

    @property
    def replicas(self) -> int:
        """Return by how many replicas the plan is divided while Redis is away."""
        return self._fallback.replicas

    @property
    def redis_seen(self) -> bool:
        """Return whether Redis has counted the replicas since the start."""
        return self._fallback.born is not None

    async def acquire(self, priority: Priority, wait_seconds: float) -> None:
        """Wait for a grant, at most `wait_seconds`.

        Args:
            priority: Share of the quota that the call may use.
            wait_seconds: The maximum wait.

        Raises:
            Exhausted: The wait would be longer.
        """
        deadline = self._clock.monotonic() + wait_seconds
        self._waiting[priority] += 1
        try:
            while True:
                result = await self._request_grant(priority)
                if result.granted:
                    return
                now = self._clock.monotonic()
                self._turn_at[priority] = now + result.wait_seconds
                if result.wait_seconds > deadline - now:
                    metrics.QUOTA_REFUSALS.labels(priority=priority.name.lower()).inc()
                    raise Exhausted(
                        "The quota at CoinGecko is used up for now",
                        retry_after_seconds=max(result.wait_seconds, 0.1),
                    )
                await asyncio.sleep(result.wait_seconds)
        finally:
            self._waiting[priority] -= 1

    def seconds_to_turn(self, priority: Priority) -> float | None:
        """Return when the next call that waits at this priority may start; None where none waits."""
        left = self._turn_at.get(priority, 0.0) - self._clock.monotonic()
        return left if self._waiting[priority] and left > 0 else None

    def waiting(self) -> dict[Priority, int]:
        """Return how many calls wait for their turn by priority, most urgent first, where any do."""
        return {priority: self._waiting[priority] for priority in Priority if self._waiting[priority]}

    async def calls_left(self) -> int:
        """Return how many calls the plan still allows in this minute."""
        seen = await self.usage()
        return max(0, seen.minute_limit - seen.minute_used)

    async def refused(self, retry_after_seconds: float) -> None:
        """Record that the upstream answered 429."""
        self._fallback.refused(read_clock(self._clock), retry_after_seconds)
        await self._run("look", Priority.LIVE, "")

    async def usage(self) -> AcquireResult:
        """Return what is left of the quota, for the status."""
        result = await self._run("look", Priority.LIVE, "")
        return result or self._fallback.window.usage(read_clock(self._clock))

    async def _request_grant(self, priority: Priority) -> AcquireResult:
        member = uuid.uuid4().hex
        was_up = self._executor.up
        result = await self._run("ask", priority, member)
        if result is None:
            now = read_clock(self._clock)
            result = self._fallback.try_acquire(now, priority, member)
            if was_up and not result.granted:
                self._fallback.cancel(now, member)
        metrics.QUOTA_LEFT.set(max(0, result.minute_limit - result.minute_used - result.granted))
        return result

    async def _run(self, what: str, priority: Priority, member: str) -> AcquireResult | None:
        """Run the script; return None where Redis is unavailable or late."""
        if self._script is None:
            return None
        script = self._script

        async def command() -> AcquireResult | None:
            return await self._run_script(script, what, priority, member)

        result = await self._executor.execute("quota", command)
        self.shared = result is not None
        return result

    async def _run_script(
        self, script: AsyncScript, what: str, priority: Priority, member: str
    ) -> AcquireResult | None:
        """Run the script once; return None if Redis restarted without data and is not settled yet.

        A late reply is still applied, with everything that the call reported.
        """
        now = read_clock(self._clock)
        unreported = self._fallback.take_unreported(now)
        args = self._arguments(what, priority, member, now, unreported)
        if not self._under_way:
            self._in_flight = InFlightScripts(self._fallback.spent)
        together, self._under_way = self._in_flight, self._under_way + 1
        try:
            reply = ScriptReply(*(int(part) for part in await script(keys=self._keys, args=args)))
        except BaseException:
            together.lost = True
            self._fallback.put_back(unreported)
            raise
        finally:
            self._under_way -= 1
        granted = int(reply.granted and what == "ask")
        if granted:
            self._fallback.remember(member, now)
        together.least = min(together.least, reply.reserve)
        surely = not self._under_way and not together.lost
        self._fallback.learn(now, reply, together, granted=granted, surely=surely)
        return reply.result() if reply.settled else None

    def _arguments(
        self, what: str, priority: Priority, member: str, now: ClockReading, unreported: UnreportedCalls
    ) -> list[Any]:
        limits, paused = self._limits, self._fallback.window.paused_seconds(now)
        shares = [MINUTE_SHARE[priority], MONTH_SHARE[priority]]
        times = [int(limits.window_seconds * 1000), int(RECOVERY_SECONDS * 1000)]
        report: list[Any] = []
        for own in unreported.calls:
            age = max(0, int((now.at - own.at) * 1000)) if own.made else -1
            report += [age, own.member, int(not own.counted)]
        return [
            what, limits.per_minute, limits.per_month, *shares, *times, member, self._name,
            self._fallback.reserve, self._replicas, self._fallback.born or "", self._fallback.month_used(now),
            unreported.old, int(paused * 1000), unreported.refusals, *report,
        ]  # fmt: skip
