"""Gathers questions for prices over a short window into few upstream calls.

Each pair that is asked for or under way has one future. A batch's fetch is a task of the batcher's own: a
caller that leaves drops its wait and nothing else. What another replica is fetching is waited for instead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from coincast_chassis import context
from coincast_chassis.errors import CoincastError, InvalidInput, NotFound, Unavailable
from coincast_market_data import metrics
from coincast_market_data.cache.entry import Cached
from coincast_market_data.domain import Quote
from coincast_market_data.parse import Pair
from coincast_market_data.ports import Priority
from coincast_market_data.prices.plan import Chunk, plan_chunks
from coincast_market_data.prices.replicas import NoReplicas, Replicas

Outcome = Cached[Quote | None] | CoincastError
FetchChunk = Callable[[Chunk, Priority], Awaitable[Mapping[Pair, Outcome]]]


class Batcher:
    """`fetch` resolves each pair to an entry or to the error that this very pair met."""

    def __init__(
        self,
        fetch_chunk: FetchChunk,
        *,
        window_seconds: float,
        max_ids: int,
        max_query_bytes: int,
        replicas: Replicas | None = None,
    ) -> None:
        self._fetch_chunk = fetch_chunk
        self._replicas = replicas or NoReplicas()
        self._window = window_seconds
        self._max_ids = max_ids
        self._max_query_bytes = max_query_bytes
        self._waiting: dict[Pair, Priority] = {}
        self._futures: dict[Pair, asyncio.Future[Outcome]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.Task[Any] | None = None
        self._opened_at = 0.0
        self.client_calls = 0
        self.upstream_calls = 0
        self.ids_sent = 0

    async def fetch(self, pairs: Iterable[Pair], priority: Priority = Priority.LIVE) -> dict[Pair, Outcome]:
        """Entries or errors of exactly these pairs."""
        futures = {pair: self._join(pair, priority) for pair in pairs}
        if not futures:
            return {}
        self.client_calls += 1
        metrics.BATCH_CLIENT_CALLS.inc()
        await asyncio.wait(futures.values())
        return {pair: future.result() for pair, future in futures.items()}

    def _join(self, pair: Pair, priority: Priority) -> asyncio.Future[Outcome]:
        future = self._futures.get(pair)
        if future is None:
            future = self._futures[pair] = asyncio.get_running_loop().create_future()
            self._waiting[pair] = priority
            self._arm()
        elif pair in self._waiting:
            self._waiting[pair] = min(self._waiting[pair], priority)
        return future

    def _arm(self) -> None:
        if self._timer is None:
            self._opened_at = asyncio.get_running_loop().time()
            self._timer = self._spawn(self._close_window())

    async def _close_window(self) -> None:
        if self._window > 0:
            await asyncio.sleep(self._window)
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        metrics.BATCH_WAIT_SECONDS.observe(asyncio.get_running_loop().time() - self._opened_at)
        # The whole batch goes with its most urgent caller: what is less urgent rides along for nothing.
        priority = min(waiting.values())
        async with self._settling(waiting):
            share = await self._replicas.claim(list(waiting))
            self._settle(share.found, share.found)
            if share.elsewhere:
                self._spawn(self._await_others(share.elsewhere, priority))
            self._send(share.mine, priority)

    async def _await_others(self, pairs: Sequence[Pair], priority: Priority) -> None:
        """Another replica is fetching these; what it does not bring in time is fetched here."""
        async with self._settling(pairs):
            found = await self._replicas.wait(pairs)
            self._settle(found, found)
            self._send([pair for pair in pairs if pair not in found], priority)

    def _send(self, pairs: Sequence[Pair], priority: Priority) -> None:
        for chunk in plan_chunks(pairs, max_ids=self._max_ids, max_query_bytes=self._max_query_bytes):
            self._spawn(self._run(chunk, priority, frozenset(pairs)))

    async def _run(self, chunk: Chunk, priority: Priority, wanted: frozenset[Pair]) -> None:
        owed = [pair for pair in chunk.pairs() if pair in wanted]
        async with self._settling(owed):
            outcomes = await self._fetch_apart(chunk, priority, wanted)
            self._replicas.release([pair for pair in owed if not isinstance(outcomes.get(pair), Cached)])
            left_out = Unavailable("CoinGecko's reply left this out")
            self._settle(owed, {pair: outcomes.get(pair, left_out) for pair in owed})

    @asynccontextmanager
    async def _settling(self, pairs: Iterable[Pair]) -> AsyncIterator[None]:
        """Whatever ends the block too soon, no caller may wait for ever because of it."""
        try:
            yield
        except asyncio.CancelledError:
            self._fail(pairs, "the service is stopping")
            raise
        except Exception:
            # A fault of our own; it is raised into the log as well.
            self._fail(pairs, "the batch failed")
            raise

    def _fail(self, pairs: Iterable[Pair], why: str) -> None:
        owed = list(pairs)
        self._replicas.release(owed)
        self._settle(owed, dict.fromkeys(owed, Unavailable(why)))

    async def _fetch_apart(
        self, chunk: Chunk, priority: Priority, wanted: frozenset[Pair]
    ) -> dict[Pair, Outcome]:
        """The chunk's outcomes; a refused chunk is split until what it is refused for stands alone."""
        self.upstream_calls += 1
        self.ids_sent += len(chunk.ids)
        metrics.BATCH_UPSTREAM_CALLS.inc()
        metrics.BATCH_IDS.observe(len(chunk.ids))
        try:
            return dict(await self._fetch_chunk(chunk, priority))
        except (InvalidInput, NotFound) as error:
            halves = [half for half in chunk.halves() if not wanted.isdisjoint(half.pairs())]
            if not chunk.halves():
                return dict.fromkeys(chunk.pairs(), error)
            outcomes: dict[Pair, Outcome] = {}
            for half in halves:
                outcomes |= await self._fetch_apart(half, priority, wanted)
            return outcomes
        except CoincastError as error:
            return dict.fromkeys(chunk.pairs(), error)

    def _settle(self, pairs: Iterable[Pair], outcomes: Mapping[Pair, Outcome]) -> None:
        for pair in list(pairs):
            future = self._futures.pop(pair, None)
            if future is not None and not future.done():
                future.set_result(outcomes[pair])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, context=context.detached())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Cancel what is under way; its callers are told."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        self._fail(list(self._futures), "the service is stopping")
