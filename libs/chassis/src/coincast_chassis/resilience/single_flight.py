"""Request coalescing: concurrent callers with the same key share one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from coincast_chassis import context
from coincast_chassis.resilience.cancellation import cancel_and_wait

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Starts a fetch for the first caller of a key; later callers share its result.

    The cancellation of one caller does not cancel the fetch. It continues for the other callers (and for the
    cache that it fills), without the deadline of the first caller.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def do(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """Return the result of `fetch`, or raise its error; all concurrent callers of `key` share it."""
        task = self._flights.get(key)
        if task is None:
            task = self._start(key, fetch)
        return await asyncio.shield(task)

    def _start(self, key: K, fetch: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        async def run() -> V:
            return await fetch()

        task = asyncio.create_task(run(), context=context.detached())
        self._flights[key] = task
        task.add_done_callback(lambda done: self._land(key, done))
        return task

    def _land(self, key: K, task: asyncio.Task[V]) -> None:
        if self._flights.get(key) is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # Mark it as retrieved: all callers may have been cancelled.

    async def aclose(self) -> None:
        """Cancel the fetches in flight and wait until they have ended."""
        await cancel_and_wait(list(self._flights.values()))
