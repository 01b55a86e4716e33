"""Measure the lag of the event loop, the first sign of a blocking call."""

from __future__ import annotations

import asyncio
import time

from coincast_chassis.observability import metrics


async def watch_loop(interval_seconds: float = 0.25) -> None:
    """Record the lag of the event loop and its number of tasks until cancelled."""
    while True:
        due = time.perf_counter() + interval_seconds
        await asyncio.sleep(interval_seconds)
        metrics.LOOP_LAG.observe(max(0.0, time.perf_counter() - due))
        metrics.TASKS.set(len(asyncio.all_tasks()))
