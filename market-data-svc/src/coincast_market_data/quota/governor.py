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
from coincast_market_data.quota.alone import Alone
from coincast_market_data.quota.window import (
    MINUTE_SHARE,
    MONTH_SHARE,
    RECOVERY_SECONDS,
    WINDOW_SECONDS,
    Limits,
    Verdict,
)
from coincast_market_data.redis_gate import RedisGate

GRACE_SECONDS = 2.0
RETRY_SECONDS = 0.3
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
        self._keys = [f"{prefix}quota:{{plan}}:{name}" for name in ("calls", "state", "replicas")]
        self._name = uuid.uuid4().hex
        self._alone = Alone(limits, replicas)
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
        self._alone.window.refused(self._clock.now(), retry_after_seconds)
        await self._run("refused", Priority.LIVE, str(int(retry_after_seconds * 1000)))

    async def look(self) -> Verdict:
        """What is left, for the status."""
        verdict = await self._run("look", Priority.LIVE, "")
        return verdict or self._alone.window.look(self._clock.now())

    async def _ask(self, priority: Priority) -> Verdict:
        verdict = await self._run("ask", priority, uuid.uuid4().hex)
        if verdict is None:
            now = self._clock.now()
            # A Redis that is only slow may be granting the same calls to others: not yet alone.
            slow = self._gate.was_late and self._alone.heard_within(now, GRACE_SECONDS)
            verdict = self._alone.wait(now, RETRY_SECONDS) if slow else self._alone.ask(now, priority)
        metrics.QUOTA_LEFT.set(max(0, verdict.minute_limit - verdict.minute_used - verdict.granted))
        return verdict

    async def _run(self, what: str, priority: Priority, last: str) -> Verdict | None:
        if self._script is None:
            return None
        script, limits = self._script, self._limits
        unreported, now = self._alone.take_unreported(), self._clock.now()
        args: list[Any] = [
            what,
            limits.per_minute,
            limits.per_month,
            MINUTE_SHARE[priority],
            MONTH_SHARE[priority],
        ]
        args += [int(WINDOW_SECONDS * 1000), int(RECOVERY_SECONDS * 1000), last, self._name]
        args += [int((now - moment) * 1000) for moment in unreported]

        async def command() -> list[int]:
            return [int(part) for part in await script(keys=self._keys, args=args)]

        reply = await self._gate.ask("quota", command)
        self.shared = reply is not None
        if reply is None:
            self._alone.give_back(unreported)
            return None
        granted, wait, used, limit, month_used, paused, replicas = reply
        if granted and what == "ask":
            self._alone.window.record(now)
        self._alone.learn(now, used=used + (granted if what == "ask" else 0), limit=limit, replicas=replicas)
        return Verdict(bool(granted), wait / 1000, used, limit, month_used, paused / 1000)
