"""Lets calls through as the plan allows: by Redis for all replicas together, by this process alone
without it.
"""

from __future__ import annotations

import asyncio
import uuid
from importlib import resources
from typing import Any

import redis.asyncio

from coincast_chassis.clock import Clock
from coincast_chassis.errors import Exhausted
from coincast_market_data import metrics
from coincast_market_data.ports import Priority
from coincast_market_data.quota.window import (
    MINUTE_SHARE,
    MONTH_SHARE,
    RECOVERY_SECONDS,
    WINDOW_SECONDS,
    Limits,
    QuotaWindow,
    Verdict,
)
from coincast_market_data.redis_gate import RedisGate

SCRIPT = resources.files(__package__).joinpath("grant.lua").read_text()


class Governor:
    """`acquire` returns when a call may go, or raises Exhausted with the time after which it might."""

    def __init__(
        self,
        limits: Limits,
        *,
        replicas: int,
        clock: Clock,
        gate: RedisGate,
        client: redis.asyncio.Redis | None,
        prefix: str,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._gate = gate
        self._script = client.register_script(SCRIPT) if client is not None else None
        self._keys = [f"{prefix}quota:{{plan}}:calls", f"{prefix}quota:{{plan}}:state"]
        alone = Limits(max(1, limits.per_minute // replicas), limits.per_month // replicas)
        self._local = QuotaWindow(alone)
        self.shared = client is not None

    @property
    def limits(self) -> Limits:
        """The plan's limits."""
        return self._limits

    async def acquire(self, priority: Priority, wait_seconds: float) -> None:
        """Wait for a turn, at most `wait_seconds`; raises Exhausted where it would take longer."""
        deadline = self._clock.monotonic() + wait_seconds
        while True:
            verdict = await self._ask(priority)
            if verdict.granted:
                return
            left = deadline - self._clock.monotonic()
            if verdict.wait_seconds > left:
                metrics.QUOTA_REFUSALS.labels(priority=priority.name.lower()).inc()
                raise Exhausted(
                    "The quota at CoinGecko is used up for now",
                    retry_after_seconds=max(verdict.wait_seconds, 0.1),
                )
            await asyncio.sleep(verdict.wait_seconds)

    async def refused(self, retry_after_seconds: float) -> None:
        """The upstream answered 429."""
        self._local.refused(self._clock.now(), retry_after_seconds)
        await self._run("refused", Priority.LIVE, str(int(retry_after_seconds * 1000)))

    async def look(self) -> Verdict:
        """What is left, for the status."""
        verdict = await self._run("look", Priority.LIVE, "")
        return verdict or self._local.look(self._clock.now())

    async def _ask(self, priority: Priority) -> Verdict:
        verdict = await self._run("ask", priority, uuid.uuid4().hex)
        if verdict is None:
            verdict = self._local.ask(self._clock.now(), priority)
        elif verdict.granted:
            self._local.record(self._clock.now())
        metrics.QUOTA_LEFT.set(max(0, verdict.minute_limit - verdict.minute_used - verdict.granted))
        return verdict

    async def _run(self, what: str, priority: Priority, last: str) -> Verdict | None:
        if self._script is None:
            return None
        script, limits = self._script, self._limits
        args: list[Any] = [
            what,
            limits.per_minute,
            limits.per_month,
            MINUTE_SHARE[priority],
            MONTH_SHARE[priority],
        ]
        args += [int(WINDOW_SECONDS * 1000), int(RECOVERY_SECONDS * 1000), last]

        async def command() -> Verdict:
            return _verdict(await script(keys=self._keys, args=args))

        verdict = await self._gate.ask("quota", command)
        self.shared = verdict is not None
        return verdict


def _verdict(reply: Any) -> Verdict:
    granted, wait, used, limit, month_used, paused = (int(part) for part in reply)
    return Verdict(bool(granted), wait / 1000, used, limit, month_used, paused / 1000)
