"""Rate limiter for upstream calls.

It grants calls as the plan allows: through Redis for all replicas together, or for this process alone without
Redis.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from importlib import resources
from typing import Any

import redis.asyncio
from redis.commands.core import AsyncScript

from coincast_chassis.clock import Clock
from coincast_chassis.errors import Exhausted
from coincast_market_data import metrics
from coincast_market_data.ports import Priority
from coincast_market_data.rate_limit.local_fallback import InFlightScripts, LocalFallback, UnreportedCalls
from coincast_market_data.rate_limit.sliding_window import (
    MINUTE_SHARE,
    MONTH_SHARE,
    RECOVERY_SECONDS,
    AcquireResult,
    ClockReading,
    Limits,
    ScriptReply,
    read_clock,
)
from coincast_market_data.redis_executor import RedisExecutor

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
