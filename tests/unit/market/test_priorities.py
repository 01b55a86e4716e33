"""A caller that joins a fetch of lower priority is not refused because that priority has no quota left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Exhausted
from coincast_market_data.cache.freshness import FreshnessPolicy
from coincast_market_data.cache.read_through import FetchResult, ReadThrough, ServedValue
from coincast_market_data.cache.two_level import CacheEntry, CacheKind, CacheStats, NullStore, TwoLevelCache
from coincast_market_data.domain import Quote
from coincast_market_data.identifiers import Pair
from coincast_market_data.ports import Priority
from coincast_market_data.prices.batcher import PriceBatcher
from coincast_market_data.prices.fetcher import Chunk, Outcome

PAIR = ("bitcoin", "usd")


class Quota:
    """A slow upstream whose quota is used up for all that are less urgent than `least`."""

    def __init__(self, least: Priority | None) -> None:
        self.least = least
        self.requested: list[Priority] = []

    async def take(self, priority: Priority) -> None:
        self.requested.append(priority)
        await asyncio.sleep(0.03)
        if self.least is None or priority > self.least:
            raise Exhausted(f"nothing left for {priority.name}", retry_after_seconds=30)

    async def chunk(self, chunk: Chunk, priority: Priority) -> Mapping[Pair, Outcome]:
        await self.take(priority)
        return {pair: CacheEntry(Quote(*pair, price=1.0), 0.0, 0.0) for pair in chunk.pairs()}

    async def document(self, priority: Priority) -> FetchResult[str]:
        await self.take(priority)
        return FetchResult("document", 0.0, 0.1)


def batcher_on(quota: Quota) -> PriceBatcher:
    return PriceBatcher(quota.chunk, window_seconds=0.0, max_ids=250, max_query_bytes=2000)


def read_through() -> ReadThrough[str]:
    clock = ManualClock()
    kind = CacheKind("k", FreshnessPolicy(10, 40, 100), str.encode, bytes.decode)
    cache = TwoLevelCache(kind, NullStore(), clock, CacheStats(), max_entries=10, max_bytes=0)
    return ReadThrough(cache, clock=clock, data_clock=clock, sandbox=False)


async def test_a_caller_gets_the_price_for_which_a_refresh_has_no_quota() -> None:
    quota = Quota(least=Priority.LIVE)
    batcher = batcher_on(quota)
    refresh = asyncio.create_task(batcher.fetch([PAIR], Priority.REFRESH))
    await asyncio.sleep(0.01)
    callers = await asyncio.gather(*(batcher.fetch([PAIR]) for _ in range(20)))
    assert all(isinstance(answer[PAIR], CacheEntry) for answer in callers)
    assert isinstance((await refresh)[PAIR], Exhausted)
    assert quota.requested == [Priority.REFRESH, Priority.LIVE], "once more, for all of them together"


async def test_a_caller_for_whom_nothing_is_left_is_refused_after_one_more_try() -> None:
    quota = Quota(least=None)
    batcher = batcher_on(quota)
    refresh = asyncio.create_task(batcher.fetch([PAIR], Priority.REFRESH))
    await asyncio.sleep(0.01)
    assert isinstance((await batcher.fetch([PAIR]))[PAIR], Exhausted)
    await refresh
    assert quota.requested == [Priority.REFRESH, Priority.LIVE]


@pytest.mark.parametrize("first", [Priority.LIVE, Priority.REFRESH])
async def test_who_is_no_more_urgent_shares_the_refusal(first: Priority) -> None:
    quota = Quota(least=None)
    batcher = batcher_on(quota)
    one = asyncio.create_task(batcher.fetch([PAIR], first))
    await asyncio.sleep(0.01)
    assert isinstance((await batcher.fetch([PAIR], first))[PAIR], Exhausted)
    await one
    assert quota.requested == [first]


@pytest.mark.parametrize("pause", [0.0, 0.01])
async def test_a_caller_gets_the_document_for_which_a_refresh_has_no_quota(pause: float) -> None:
    quota, documents = Quota(least=Priority.LIVE), read_through()
    refresh = asyncio.create_task(documents.refresh("key", quota.document))
    await asyncio.sleep(pause)
    requested = (documents.get("key", quota.document) for _ in range(20))
    answers = await asyncio.gather(*requested, return_exceptions=True)
    assert sum(isinstance(answer, ServedValue) for answer in answers) == 20
    assert isinstance((await asyncio.gather(refresh, return_exceptions=True))[0], Exhausted)
    assert quota.requested == [Priority.REFRESH, Priority.LIVE]


async def test_callers_of_a_document_share_their_refusal() -> None:
    quota, documents = Quota(least=None), read_through()
    requested = (documents.get("key", quota.document) for _ in range(20))
    refused = await asyncio.gather(*requested, return_exceptions=True)
    assert sum(isinstance(error, Exhausted) for error in refused) == 20
    assert quota.requested == [Priority.LIVE]
