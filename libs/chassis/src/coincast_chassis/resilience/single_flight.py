"""One fetch for all who ask for the same thing at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from coincast_chassis import context

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """The first caller starts the fetch, the others share it; it outlives any one caller.

    A caller that is cancelled leaves alone: the fetch goes on for the others (and for the cache that it
    fills), without the deadline of the first caller.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def do(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """Return the result of `fetch`, or the error it raised, shared by all callers of `key` meanwhile."""
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
            task.exception()  # marks it as seen: all callers may have gone

    async def aclose(self) -> None:
        """Cancel what is in flight and wait for it to end."""
        tasks = list(self._flights.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
