"""Sample the processes of the stack: resident memory, file descriptors, threads, tasks of the event loop."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

import httpx2
import psutil

from coincast_stack.stack import Stack

MEGABYTE = 1024 * 1024
TASKS = re.compile(r"^coincast_event_loop_tasks(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
WITH_METRICS = ("market", "training", "forecast", "gateway")


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one process, `at_seconds` after the start of the sampling.

    `tasks` is None if the process has no such metric, or did not answer.
    """

    at_seconds: float
    memory_mb: float
    descriptors: int
    threads: int
    tasks: float | None


class Sampler:
    """Samples by process name, oldest first; a restart of a process drops its earlier samples."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pids: dict[str, int] = {}
        self.samples: dict[str, list[Sample]] = {}

    async def run(self, interval_seconds: float) -> None:
        """Sample until cancelled."""
        began = time.monotonic()
        async with httpx2.AsyncClient(trust_env=False, timeout=3) as client:
            while True:
                for name, child in self._stack.children.items():
                    if self._pids.setdefault(name, child.pid) != child.pid:
                        self._pids[name] = child.pid
                        self.samples[name] = []
                    sample = await self._sample(client, name, child.pid, time.monotonic() - began)
                    if sample is not None:
                        self.samples.setdefault(name, []).append(sample)
                await asyncio.sleep(interval_seconds)

    async def _sample(self, client: httpx2.AsyncClient, name: str, pid: int, at: float) -> Sample | None:
        try:
            process = psutil.Process(pid)
            memory, descriptors, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
        except psutil.Error:
            return None
        return Sample(at, memory / MEGABYTE, descriptors, threads, await self._tasks(client, name))

    async def _tasks(self, client: httpx2.AsyncClient, name: str) -> float | None:
        if name not in WITH_METRICS:
            return None
        try:
            found = TASKS.search((await client.get(self._stack.metrics_url(name))).text)
        except httpx2.HTTPError:
            return None
        return float(found.group(1)) if found else None
