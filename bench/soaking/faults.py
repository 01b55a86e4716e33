"""Cause the faults of a soak: the sandbox misbehaves, processes are paused, processes are killed."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import httpx2

from coincast_stack.stack import Stack

UPSTREAM: tuple[dict[str, Any], ...] = (
    {"kind": "latency", "seconds": 4.0},
    {"kind": "status", "status": 500, "body": 1},
    {"kind": "status", "status": 429, "body": 5, "retry_after": "3"},
    {"kind": "status", "status": 429, "body": 1, "retry_after": "99999999999"},
    {"kind": "status", "status": 403, "body": 6},
    {"kind": "reset"},
    {"kind": "hang"},
    {"kind": "drip", "seconds_per_chunk": 0.5, "chunk_bytes": 8},
    {"kind": "malformed"},
    {"kind": "nan", "value": "NaN"},
    {"kind": "jump", "factor": 1000.0},
    {"kind": "huge", "megabytes": 200},
    {"kind": "redirect", "location": "http://127.0.0.1:9/"},
)
PAUSED = ("redis", "sandbox", "forecast", "market", "training", "gateway")
KILLED = PAUSED
COINS = ("bitcoin", "ethereum", "solana", "cardano", "litecoin", "chainlink")
CURRENCIES = ("usd", "eur", "gbp", "chf", "jpy", "aud", "cad", "inr")
FAULT_SECONDS, PAUSE_SECONDS, SETTLE_SECONDS, STOPPED_SECONDS = 6.0, 8.0, 25.0, 3.0
BACK_SECONDS = 60.0


class FaultSchedule:
    """Causes one fault at a time, each followed by a pause, and counts them in `struck`.

    `disturbed` is true from the start of a fault until SETTLE_SECONDS after its end, when its effects must
    be over.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._random = random.Random(11)
        self._until = 0.0
        self.struck: Counter[str] = Counter()

    @property
    def disturbed(self) -> bool:
        """Return whether a fault is on, or ended so recently that open breakers or pauses may remain."""
        return time.monotonic() < self._until

    async def around(self, work: Awaitable[None]) -> None:
        """Await some work; count its time, and SETTLE_SECONDS after it, as disturbed."""
        self._until = float("inf")
        await work
        self._until = time.monotonic() + SETTLE_SECONDS

    async def run(self, until: float) -> None:
        """Run faults one after another until the given monotonic time."""
        while time.monotonic() < until:
            self._stack.raise_if_dead()
            await self.around(self._cause_one())
            left = until - time.monotonic()
            await asyncio.sleep(max(min(SETTLE_SECONDS + PAUSE_SECONDS, left), 0))

    async def stop_each_once(self) -> None:
        """Pause each process in turn, so that callers accumulate and pools grow to their limits."""
        for name in PAUSED:
            await self._pause(name)
            await asyncio.sleep(STOPPED_SECONDS)

    async def _cause_one(self) -> None:
        if self._random.random() < 0.3:
            await self._pause(self._random.choice(PAUSED))
        else:
            await self._misbehave(self._random.choice(UPSTREAM))

    async def _misbehave(self, fault: dict[str, Any]) -> None:
        self.struck[" ".join(str(fault[k]) for k in ("kind", "status", "retry_after") if k in fault)] += 1
        url = f"{self._stack.sandbox_url}/sandbox/faults"
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            await client.post(url, json=fault)
            await asyncio.sleep(FAULT_SECONDS)
            await client.delete(url)

    async def _pause(self, name: str) -> None:
        self.struck[f"{name} stopped"] += 1
        self._stack.children[name].send(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_SECONDS)
        self._stack.children[name].send(signal.SIGCONT)

    async def kill_each_once(self) -> None:
        """Kill each process in turn with SIGKILL, and restart it.

        Raises:
            SystemExit: New requests are not answered within BACK_SECONDS of a restart.
        """
        for name in KILLED:
            self.struck[f"{name} killed"] += 1
            await self._stack.kill(name)
            await asyncio.sleep(1)
            began = time.monotonic()
            await self._stack.restart(name)
            await self._wait_until_back()
            seconds = time.monotonic() - began
            print(f"killed {name}: new requests were answered {seconds:.1f} s after its restart", flush=True)

    async def _wait_until_back(self) -> None:
        until = time.monotonic() + BACK_SECONDS
        async with httpx2.AsyncClient(
            base_url=self._stack.gateway_url, trust_env=False, timeout=10
        ) as client:
            while time.monotonic() < until:
                if await self._serves(client):
                    return
                await asyncio.sleep(0.2)
        raise SystemExit(f"new requests were not answered within {BACK_SECONDS:.0f} s of the restart")

    async def _serves(self, client: httpx2.AsyncClient) -> bool:
        """Return whether each service answers a request that no cache holds a reply to."""
        coins = ",".join(self._random.sample(COINS, self._random.randint(1, 4)))
        currencies = ",".join(self._random.sample(CURRENCIES, 4))
        levels = ",".join(str(level) for level in sorted(self._random.sample(range(10, 99), 3)))
        paths = (
            f"/prices?ids={coins}&vs_currencies={currencies}",
            f"/forecasts?ids={coins}&days={self._random.randint(1, 30)}&levels={levels}&model=lightgbm",
            "/models",
        )
        try:
            replies = [await client.get(path) for path in paths]
        except httpx2.HTTPError:
            return False
        if any(reply.status_code != 200 for reply in replies):
            return False
        return not any(forecast["degraded"] for forecast in replies[1].json()["forecasts"])
