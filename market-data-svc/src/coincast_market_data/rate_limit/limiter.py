"""Rate limiter for upstream calls: one quota for all replicas, counted in Redis.

The rules are a sliding minute, a calendar month, a pause after a refusal, and a limit that refusals lower.
`QuotaWindow` implements them in memory and `acquire.lua` in Redis; a property test compares the two. While
Redis is unavailable, each process uses the reserve that Redis set for it (`LocalFallback`), so that all
replicas together respect the plan even if Redis still answers some of them.
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
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_market_data import metrics
from coincast_market_data.ports import Priority
from coincast_market_data.redis_executor import RedisExecutor

# The upstream counts calls when they arrive, this code when they are sent. One more second allows for the
# transit.
WINDOW_SECONDS = 61.0
# The time in which a limit that was lowered to zero would recover.
RECOVERY_SECONDS = 600.0
# The share of the minute's and of the month's calls that each priority may use. The rest is reserved for
# higher priorities.
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
    """Calls a minute and a month; 0 a month means no limit. The window is the length of the minute."""

    per_minute: int
    per_month: int
    window_seconds: float = WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A reading of both clocks.

    `at` is monotonic seconds and measures the minute and the pause, since the wall clock may be set; `wall`
    is UNIX seconds and determines the month.
    """

    at: float
    wall: float


def read_clock(clock: Clock) -> ClockReading:
    """Return the monotonic and the wall time."""
    return ClockReading(clock.monotonic(), clock.now())


@dataclass(frozen=True, slots=True)
class AcquireResult:
    """Whether a call is granted, and the state of the quota.

    If it is not granted, `wait_seconds` says when to try again.
    """

    granted: bool
    wait_seconds: float
    minute_used: int
    minute_limit: int
    month_used: int
    paused_seconds: float


def month_of(now: ClockReading) -> str:
    """Return the UTC month of a reading, as YYYY-MM."""
    return datetime.fromtimestamp(now.wall, UTC).strftime("%Y-%m")


class QuotaWindow:
    """The quota as counted in this process; the caller passes the time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._calls: deque[float] = deque()
        self._paused_until = float("-inf")
        self._factor, self._factor_at = 1.0, 0.0
        self._month, self._month_used = "", 0

    def try_acquire(self, now: ClockReading, priority: Priority) -> AcquireResult:
        """Grant and count one call, or return how long to wait."""
        self._expire(now)
        result = self._evaluate(now, priority)
        if result.granted:
            self.record(now)
        return result

    def usage(self, now: ClockReading) -> AcquireResult:
        """Return the state of the quota without a call."""
        self._expire(now)
        return self._evaluate(now, Priority.LIVE)

    def record(self, now: ClockReading) -> None:
        """Count a call that was granted elsewhere."""
        self._calls.append(now.at)
        self._month_used += 1

    def refused(self, now: ClockReading, retry_after_seconds: float) -> None:
        """Pause after a 429, and halve the limit, which recovers within ten minutes.

        Args:
            now: The current time.
            retry_after_seconds: The pause that the upstream requested.
        """
        self.pause(now, retry_after_seconds)
        self._factor = max(self._factor_now(now) / 2, 1 / max(1, self.limits.per_minute))
        self._factor_at = now.at

    def pause(self, now: ClockReading, seconds: float) -> None:
        """Grant no call for this time, or for the rest of a longer pause."""
        self._paused_until = max(self._paused_until, now.at + seconds)

    def paused_seconds(self, now: ClockReading) -> float:
        """Return the seconds left of the pause."""
        return max(0.0, self._paused_until - now.at)

    def used(self, now: ClockReading) -> int:
        """Return the number of calls in the minute that ends now."""
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

    def _evaluate(self, now: ClockReading, priority: Priority) -> AcquireResult:
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
        # A call is allowed once this one has left the window.
        blocking_call = self._calls[len(self._calls) - allowed]
        return max(0.001, blocking_call + self.limits.window_seconds - now.at)


@dataclass(frozen=True, slots=True)
class ScriptReply:
    """The reply of `acquire.lua`, in its order; times in milliseconds."""

    granted: int
    wait_ms: int
    minute_used: int
    minute_limit: int
    month_used: int
    paused_ms: int
    replicas: int
    reserve: int
    # When this Redis began to count, milliseconds; it is another number after a restart without data.
    born: int
    # 1 if it has the counts of all replicas, so that it grants calls.
    settled: int

    def result(self) -> AcquireResult:
        """Convert the reply to the result for the caller."""
        return AcquireResult(
            granted=bool(self.granted),
            wait_seconds=self.wait_ms / 1000,
            minute_used=self.minute_used,
            minute_limit=self.minute_limit,
            month_used=self.month_used,
            paused_seconds=self.paused_ms / 1000,
        )


# After this time without an answer, Redis is assumed to be unavailable for all replicas. Then each replica
# also uses its share of the calls that leave the minute, not only its reserve.
SLOW_SECONDS = 5.0
# How long a caller waits while the reserve is used up and Redis may still answer other replicas.
RETRY_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class OfflineCall:
    """A call that is to be reported to Redis: it was made without Redis, or granted by Redis and not made.

    Args:
        member: Its name in Redis, under which it is counted only once.
        at: Monotonic seconds of the grant.
        made: Whether it was made.
        counted: Whether the count of the month in Redis includes it already. After a restart without data the
            count is restored as a number, and the calls of the minute one by one.
    """

    member: str
    at: float
    made: bool
    counted: bool = False


@dataclass(frozen=True, slots=True)
class UnreportedCalls:
    """What the next command reports to Redis."""

    # The number of calls before the window, which count for the month only.
    old: int
    # The calls within the window.
    calls: Sequence[OfflineCall]
    # How often the upstream answered 429.
    refusals: int


@dataclass(slots=True)
class InFlightScripts:
    """Concurrent calls of the script, whose order of execution in Redis is unknown."""

    # `LocalFallback.spent` when the first of them was sent.
    spent_before: int
    # The smallest reserve that any of them returned.
    least: int = 2**53
    # Whether one of them failed, so that its reserve is unknown.
    lost: bool = False


class LocalFallback:
    """Limits calls while Redis is unavailable, by this replica's reserve and share of the plan.

    Args:
        limits: The limits of the plan.
        replicas: The number of replicas by the settings; more may be reported by Redis or `siblings`.
        siblings: Returns the number of replicas on the same archive folder.
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
        """Use other limits from now on."""
        self._limits = limits

    @property
    def replicas(self) -> int:
        """The number of replicas that divide the plan without Redis: the largest that any source reports."""
        return max(self._least_replicas, self._reported, self._siblings())

    @property
    def reserve(self) -> int:
        """Calls left of the reserve; no others are granted while Redis may still answer other replicas."""
        return max(0, self._reserve - (self.spent - self._spent_then))

    def learn(
        self, now: ClockReading, reply: ScriptReply, together: InFlightScripts, *, granted: int, surely: bool
    ) -> None:
        """Update the reserve and the known counts from a reply of Redis.

        A larger reserve is accepted only after all concurrent scripts have answered, and then the smallest
        one that they returned, since the script that ran last may have reduced it.

        Args:
            now: The time of the reply.
            reply: The reply of the script.
            together: The scripts that ran concurrently.
            granted: The calls that the reply granted, 0 or 1.
            surely: Whether all concurrent scripts have answered.
        """
        if self.born is not None and reply.born != self.born:
            # Redis has restarted without data, so all calls of the minute are reported again. A call that is
            # reported twice counts once, by its name.
            new = {own.member for own in self._unreported}
            self._unreported += [replace(own, counted=True) for own in self._made if own.member not in new]
        self.born = reply.born
        # The pause stays valid even if the Redis that reported it restarts.
        self.window.pause(now, reply.paused_ms / 1000)
        if not reply.settled:
            return
        # Before Redis is settled, its number of replicas may be too low.
        self._reported = reply.replicas
        self._month = (month_of(now), reply.month_used + granted)
        self._answered_at = now.at
        self._own_then = self.window.used(now)
        reserve = together.least if surely else reply.reserve
        if surely or reserve - (self.spent - together.spent_before) <= self.reserve:
            self._reserve, self._spent_then = reserve, together.spent_before

    def refused(self, now: ClockReading, retry_after_seconds: float) -> None:
        """Record that the upstream answered 429, to be reported to Redis."""
        self.window.refused(now, retry_after_seconds)
        self._refusals += 1

    def remember(self, member: str, now: ClockReading) -> None:
        """Record a call that Redis granted, for a Redis that may lose its data."""
        self.window.record(now)
        self._record_made(OfflineCall(member, now.at, made=True))

    def month_used(self, now: ClockReading) -> int:
        """Return the calls of all replicas this month, as last reported; 0 if another month has begun."""
        month, used = self._month
        return used if month == month_of(now) else 0

    def _record_made(self, own: OfflineCall) -> None:
        self._made.append(own)
        while self._made[0].at <= own.at - self._limits.window_seconds:
            self._made.popleft()

    def try_acquire(self, now: ClockReading, priority: Priority, member: str) -> AcquireResult:
        """Grant and count one call of this replica's share, or return how long to wait.

        Args:
            now: The current time.
            priority: The priority, which limits the share of the quota.
            member: The name of the call in Redis.
        """
        self.window.limits = self._share(now)
        if now.at - self._answered_at < SLOW_SECONDS and not self.reserve:
            seen = self.window.usage(now)
            return replace(seen, granted=False, wait_seconds=max(seen.paused_seconds, RETRY_SECONDS))
        result = self.window.try_acquire(now, priority)
        if result.granted:
            self.spent += 1
            self._expire(now)
            own = OfflineCall(member, now.at, made=True)
            self._unreported.append(own)
            self._record_made(own)
        return result

    def cancel(self, now: ClockReading, member: str) -> None:
        """Record that a call will not be made although Redis may still grant it, since its reply was late."""
        self._unreported.append(OfflineCall(member, now.at, made=False))

    def take_unreported(self, now: ClockReading) -> UnreportedCalls:
        """Return what the next command reports to Redis, and clear it."""
        self._expire(now)
        taken = UnreportedCalls(self._old, self._unreported, self._refusals)
        self._old = self._refusals = 0
        self._unreported = []
        return taken

    def put_back(self, unreported: UnreportedCalls) -> None:
        """Restore a report that did not reach Redis."""
        self._old += unreported.old
        self._refusals += unreported.refusals
        self._unreported = [*unreported.calls, *self._unreported]

    def _expire(self, now: ClockReading) -> None:
        """Move unreported calls that have left the window to the number of old ones.

        Calls that were not made are dropped.
        """
        start = now.at - self._limits.window_seconds
        self._old += sum(own.made and own.at <= start for own in self._unreported)
        self._unreported = [own for own in self._unreported if own.at > start]

    def _share(self, now: ClockReading) -> Limits:
        replicas = self.replicas
        month = self._limits.per_month // replicas
        share = self._limits.per_minute // replicas
        if now.at - self._answered_at < self._limits.window_seconds:
            # In the minute in which Redis was lost, other replicas may have used calls that this one does not
            # know. It may only use its reserve of that time.
            share = min(share, self._own_then + self._reserve)
        return replace(self._limits, per_minute=max(share, 0), per_month=month)


# The interval of heartbeats to Redis. It is also the largest age of the reserve of a replica without calls.
BEAT_SECONDS = 1.0
KEYS = ("calls", "state", "replicas", "reserves")
SCRIPT = resources.files(__package__).joinpath("acquire.lua").read_text()


class RateLimiter:
    """Rate limiter of the upstream calls of this replica.

    Args:
        limits: The limits of the plan.
        replicas: The number of replicas by the settings, for the time without Redis.
        clock: The clock of windows and waits.
        executor: Runs Redis commands fail-fast.
        client: Redis, which all replicas share; None for a replica without Redis.
        prefix: The prefix of Redis keys.
        siblings: Returns the number of replicas on the same archive folder.
    """

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
        """Start the heartbeat, which renews this replica's reserve in Redis."""
        if self._script is not None and self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._send_heartbeats())

    async def _send_heartbeats(self) -> None:
        while True:
            await self._run("look", Priority.LIVE, "")
            await asyncio.sleep(BEAT_SECONDS)

    async def aclose(self) -> None:
        """Stop the heartbeat, and release this replica's reserve for the others."""
        if self._heartbeat is not None:
            await cancel_and_wait({self._heartbeat})
        await self._run("leave", Priority.LIVE, "")

    @property
    def limits(self) -> Limits:
        """The limits of the plan."""
        return self._limits

    def use_limits(self, limits: Limits) -> None:
        """Use other limits from now on; the calls of the current window stay counted."""
        self._limits = limits
        self._fallback.use_limits(limits)

    @property
    def replicas(self) -> int:
        """The number of replicas that divide the plan while Redis is unavailable."""
        return self._fallback.replicas

    @property
    def redis_seen(self) -> bool:
        """Whether Redis has answered since the start, so that it has reported the number of replicas."""
        return self._fallback.born is not None

    async def acquire(self, priority: Priority, wait_seconds: float) -> None:
        """Wait until a call is granted.

        Args:
            priority: The priority, which limits the share of the quota.
            wait_seconds: The longest wait.

        Raises:
            Exhausted: The wait would be longer; the error says after how many seconds to retry.
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
        """Return the seconds until the next queued call of a priority may start; None if none is queued."""
        left = self._turn_at.get(priority, 0.0) - self._clock.monotonic()
        return left if self._waiting[priority] and left > 0 else None

    def waiting(self) -> dict[Priority, int]:
        """Return the number of queued calls by priority, most urgent first, for priorities that have any."""
        return {priority: self._waiting[priority] for priority in Priority if self._waiting[priority]}

    async def calls_left(self) -> int:
        """Return the number of calls that the plan still allows in this minute."""
        seen = await self.usage()
        return max(0, seen.minute_limit - seen.minute_used)

    async def refused(self, retry_after_seconds: float) -> None:
        """Record that the upstream answered 429, and pause for the time that it requested."""
        self._fallback.refused(read_clock(self._clock), retry_after_seconds)
        await self._run("look", Priority.LIVE, "")

    async def usage(self) -> AcquireResult:
        """Return the state of the quota, for the status report."""
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
        """Run the script; return None if Redis is unavailable, slow or not settled."""
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
        """Run the script once and apply its reply, also if it arrives too late for the caller.

        Returns:
            None if Redis restarted without data and still waits for the reports of other replicas.
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
