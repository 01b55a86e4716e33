"""Batches the price requests of a short window into few upstream calls.

A pair is a coin and a currency. Each pair that is requested or in flight has one future. A batch is fetched
in a task of the batcher, so a cancelled caller does not cancel the fetch. Pairs that another replica is
fetching are awaited, not fetched.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from coincast_chassis import context
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Unavailable
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_market_data import metrics
from coincast_market_data.cache.two_level import CacheEntry, KeyLeases
from coincast_market_data.coingecko.error_mapping import BeyondPlanReach, UnconfirmedData
from coincast_market_data.domain import Quote
from coincast_market_data.identifiers import Pair, quote_key
from coincast_market_data.ports import Priority
from coincast_market_data.prices.fetcher import Chunk, Outcome, most_calls, plan_chunks

# When the pairs of a refused batch may be requested again, if the faulty pair was not isolated.
RETRY_REFUSED_SECONDS = 30.0
FetchChunk = Callable[[Chunk, Priority], Awaitable[Mapping[Pair, Outcome]]]


@dataclass(frozen=True, slots=True)
class PairLeaseResult:
    """The result of claiming pairs."""

    # Pairs that this replica must fetch.
    mine: Sequence[Pair]
    # Entries that another replica has just stored.
    found: Mapping[Pair, CacheEntry[Quote | None]] = field(default_factory=dict)
    # Pairs that another replica is fetching.
    elsewhere: Sequence[Pair] = ()


class ReplicaLeases(Protocol):
    """The lease operations that the batcher uses."""

    async def claim(self, pairs: Sequence[Pair]) -> PairLeaseResult:
        """Take the leases of those pairs that no other replica has leased."""
        ...

    async def wait(self, pairs: Sequence[Pair]) -> Mapping[Pair, CacheEntry[Quote | None]]:
        """Wait, for a bounded time, until other replicas have fetched these pairs."""
        ...

    def release(self, pairs: Sequence[Pair]) -> None:
        """Release the leases of pairs that could not be fetched."""
        ...


class NoReplicaLeases:
    """Leases of a process without other replicas."""

    async def claim(self, pairs: Sequence[Pair]) -> PairLeaseResult:
        """Return all pairs as leased."""
        return PairLeaseResult(pairs)

    async def wait(self, pairs: Sequence[Pair]) -> Mapping[Pair, CacheEntry[Quote | None]]:
        """Return nothing, since no other replica fetches."""
        del pairs
        return {}

    def release(self, pairs: Sequence[Pair]) -> None:
        """Do nothing."""


class PriceBatcher:
    """Batches fetches of prices.

    Args:
        fetch_chunk: Makes one upstream call.
        window_seconds: How long requests are collected for a batch.
        max_ids: The most ids in one upstream call.
        max_query_bytes: The longest query string of one upstream call.
        replicas: The leases by which replicas fetch a pair only once.
    """

    def __init__(
        self,
        fetch_chunk: FetchChunk,
        *,
        window_seconds: float,
        max_ids: int,
        max_query_bytes: int,
        replicas: ReplicaLeases | None = None,
    ) -> None:
        self._fetch_chunk = fetch_chunk
        self._replicas = replicas or NoReplicaLeases()
        self._window = window_seconds
        self._max_ids = max_ids
        self._max_query_bytes = max_query_bytes
        self._waiting: dict[Pair, Priority] = {}
        self._futures: dict[Pair, asyncio.Future[Outcome]] = {}
        # The priorities of the pairs in flight.
        self._in_flight: dict[Pair, Priority] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.Task[Any] | None = None
        self._opened_at = 0.0
        self.client_calls = 0
        self.upstream_calls = 0
        self.ids_sent = 0

    async def fetch(self, pairs: Iterable[Pair], priority: Priority = Priority.LIVE) -> dict[Pair, Outcome]:
        """Fetch pairs, each of which is resolved to an entry or to an error of its own.

        Args:
            pairs: The pairs.
            priority: The priority of the upstream calls.
        """
        requested = list(pairs)
        if not requested:
            return {}
        self.client_calls += 1
        metrics.BATCH_CLIENT_CALLS.inc()
        # A fetch in flight may have a lower priority, whose share of the quota is used up. Such pairs are
        # fetched again with the priority of this caller.
        lower = [pair for pair in requested if self._in_flight.get(pair, priority) > priority]
        outcomes = await self._outcomes(requested, priority)
        retried = [pair for pair in lower if isinstance(outcomes[pair], Exhausted)]
        return outcomes | await self._outcomes(retried, priority) if retried else outcomes

    async def _outcomes(self, pairs: Sequence[Pair], priority: Priority) -> dict[Pair, Outcome]:
        futures = {pair: self._join(pair, priority) for pair in pairs}
        await asyncio.wait(futures.values())
        return {pair: future.result() for pair, future in futures.items()}

    def _join(self, pair: Pair, priority: Priority) -> asyncio.Future[Outcome]:
        future = self._futures.get(pair)
        if future is None:
            future = self._futures[pair] = asyncio.get_running_loop().create_future()
            self._waiting[pair] = priority
            self._open_window()
        elif pair in self._waiting:
            self._waiting[pair] = min(self._waiting[pair], priority)
        return future

    def _open_window(self) -> None:
        if self._timer is None:
            self._opened_at = asyncio.get_running_loop().time()
            self._timer = self._spawn(self._close_window())

    async def _close_window(self) -> None:
        if self._window > 0:
            await asyncio.sleep(self._window)
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        metrics.BATCH_WAIT_SECONDS.observe(asyncio.get_running_loop().time() - self._opened_at)
        # The batch has the priority of its most urgent caller, since further pairs in a call cost nothing.
        priority = min(waiting.values())
        self._in_flight |= dict.fromkeys(waiting, priority)
        async with self._settling(waiting):
            leases = await self._replicas.claim(list(waiting))
            self._settle(leases.found, leases.found)
            if leases.elsewhere:
                self._spawn(self._await_others(leases.elsewhere, priority))
            self._send(leases.mine, priority)

    async def _await_others(self, pairs: Sequence[Pair], priority: Priority) -> None:
        """Wait for pairs that another replica is fetching, and fetch those that do not arrive in time."""
        async with self._settling(pairs):
            found = await self._replicas.wait(pairs)
            self._settle(found, found)
            self._send([pair for pair in pairs if pair not in found], priority)

    def _send(self, pairs: Sequence[Pair], priority: Priority) -> None:
        for chunk in plan_chunks(pairs, max_ids=self._max_ids, max_query_bytes=self._max_query_bytes):
            self._spawn(self._run(chunk, priority, frozenset(pairs)))

    async def _run(self, chunk: Chunk, priority: Priority, wanted: frozenset[Pair]) -> None:
        pending = [pair for pair in chunk.pairs() if pair in wanted]
        async with self._settling(pending):
            outcomes = await self._fetch_splitting(chunk, priority, wanted)
            failed = [pair for pair in pending if not isinstance(outcomes.get(pair), CacheEntry)]
            self._replicas.release(failed)
            self._settle(pending, {pair: outcomes.get(pair) or _left_out() for pair in pending})

    @asynccontextmanager
    async def _settling(self, pairs: Iterable[Pair]) -> AsyncIterator[None]:
        """Resolve the pairs with an error if the block fails, so that no caller waits forever."""
        try:
            yield
        except asyncio.CancelledError:
            self._fail(pairs, "the service is stopping")
            raise
        except Exception:
            # An unexpected error is a bug of this service. It is raised again, so that it is logged.
            self._fail(pairs, "the batch failed")
            raise

    def _fail(self, pairs: Iterable[Pair], why: str) -> None:
        pending = list(pairs)
        self._replicas.release(pending)
        self._settle(pending, dict.fromkeys(pending, Unavailable(why)))

    async def _fetch_splitting(
        self, chunk: Chunk, priority: Priority, wanted: frozenset[Pair]
    ) -> dict[Pair, Outcome]:
        """Fetch a chunk; split it in halves if it is refused, until the faulty pair is isolated.

        Splitting also ends after `most_calls` upstream calls.

        Args:
            chunk: The ids and currencies.
            priority: The priority of the upstream calls.
            wanted: The pairs that are needed; parts of the chunk without any of them are not fetched.

        Returns:
            The outcome of each pair that was fetched or refused.
        """
        outcomes: dict[Pair, Outcome] = {}
        parts, left = deque([chunk]), most_calls(chunk)
        while parts and left:
            part, left = parts.popleft(), left - 1
            try:
                outcomes |= await self._fetch_part(part, priority)
            except (InvalidInput, NotFound) as error:
                halves = part.halves() if not isinstance(error, BeyondPlanReach) else []
                outcomes |= dict.fromkeys(part.pairs(), _unisolated(error) if halves else error)
                # The largest parts come first, so that most pairs are served before the calls are used up.
                parts += [half for half in halves if not wanted.isdisjoint(half.pairs())]
            except CoincastError as error:
                # The error is not about the request, so the other parts would fail too, each after a wait.
                return outcomes | {pair: error for rest in (part, *parts) for pair in rest.pairs()}
        return outcomes

    async def _fetch_part(self, part: Chunk, priority: Priority) -> Mapping[Pair, Outcome]:
        self.upstream_calls += 1
        self.ids_sent += len(part.ids)
        metrics.BATCH_UPSTREAM_CALLS.inc()
        metrics.BATCH_IDS.observe(len(part.ids))
        return await self._fetch_chunk(part, priority)

    def _settle(self, pairs: Iterable[Pair], outcomes: Mapping[Pair, Outcome]) -> None:
        for pair in list(pairs):
            future = self._futures.pop(pair, None)
            self._in_flight.pop(pair, None)
            if future is not None and not future.done():
                future.set_result(outcomes[pair])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, context=context.detached())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Cancel the fetches in flight, whose callers get an error."""
        await cancel_and_wait(list(self._tasks))
        self._fail(list(self._futures), "the service is stopping")


def _left_out() -> Unavailable:
    return Unavailable("CoinGecko's reply left this out")


def _unisolated(error: CoincastError) -> UnconfirmedData:
    """Return the error of a pair that was refused together with others, although it may be valid."""
    return UnconfirmedData(
        f"CoinGecko refused a batch with this item, and the faulty item was not isolated: {error.message}",
        retry_after_seconds=RETRY_REFUSED_SECONDS,
    )


# For more pairs no leases are taken, since they would cost more than a second upstream call.
MOST_PAIRS = 1000


class PairLeases:
    """The leases of the cache of quotes, by pair.

    Args:
        sharing: The leases by cache key.
    """

    def __init__(self, sharing: KeyLeases[Quote | None]) -> None:
        self._sharing = sharing
        # For each awaited key `stored_at` of the entry that was known when the wait began.
        self._seen: dict[str, float] = {}

    async def claim(self, pairs: Sequence[Pair]) -> PairLeaseResult:
        """Take the leases of those pairs that no other replica has leased."""
        if len(pairs) > MOST_PAIRS:
            return PairLeaseResult(pairs)
        by_key = {quote_key(pair): pair for pair in pairs}
        leases = await self._sharing.claim(list(by_key))
        self._seen |= {key: leases.seen[key] for key in leases.elsewhere}
        found = {by_key[key]: entry for key, entry in leases.found.items()}
        return PairLeaseResult([by_key[k] for k in leases.mine], found, [by_key[k] for k in leases.elsewhere])

    async def wait(self, pairs: Sequence[Pair]) -> Mapping[Pair, CacheEntry[Quote | None]]:
        """Wait, for a bounded time, until other replicas have fetched these pairs."""
        by_key = {quote_key(pair): pair for pair in pairs}
        seen = {key: self._seen.pop(key) for key in by_key}
        found = await self._sharing.wait(list(by_key), seen)
        return {by_key[key]: entry for key, entry in found.items()}

    def release(self, pairs: Sequence[Pair]) -> None:
        """Release the leases of pairs that could not be fetched."""
        self._sharing.release([quote_key(pair) for pair in pairs])
