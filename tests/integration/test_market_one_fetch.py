"""One upstream call for a cold key over three replicas, and the outcome for waiting callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError
from coincast_chassis.redis import open_redis
from coincast_market_data.cache.two_level import LEASE_SECONDS, TOKEN_MARK, RedisStore
from coincast_market_data.redis_executor import RedisExecutor
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import pro_sandbox, running_market, settings_for
from tests.contract.valkey_harness import running_valkey

CALLERS = 300
Ask = Callable[[Any], Awaitable[Any]]
QUESTIONS: dict[str, Ask] = {
    "price": lambda stub: stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=30),
    "document": lambda stub: stub.GetDocument(pb.GetDocumentRequest(path="coins/bitcoin"), timeout=30),
    "markets": lambda stub: stub.GetMarkets(pb.GetMarketsRequest(), timeout=30),
    "history": lambda stub: stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=30), timeout=30),
    "catalogue": lambda stub: stub.ListCoins(pb.ListCoinsRequest(), timeout=30),
}


async def replicas(
    stack: AsyncExitStack, sandbox: RunningSandbox, url: str, folder: Path, wait: float = 25.0
) -> list[Any]:
    """Three services on one Redis, that know nothing yet; patient, for a machine that is busy elsewhere."""
    settings = settings_for(
        sandbox, folder, redis_url=url, redis_patience_seconds=5.0, shared_fetch_wait_seconds=wait
    )
    stubs = [await stack.enter_async_context(running_market(settings)) for _ in range(3)]
    client = open_redis(url, timeout_seconds=5.0)
    known = [name async for name in client.scan_iter("*") if b":quota:" not in name]
    await client.delete(*known)
    await client.aclose()
    return stubs


@pytest.mark.parametrize("seconds", [0.0, 0.3])
@pytest.mark.parametrize("kind", [kind for kind in QUESTIONS if kind != "catalogue"])
async def test_three_replicas_fetch_a_cold_key_once(tmp_path: Path, kind: str, seconds: float) -> None:
    """However quick or slow the upstream is."""
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        async with AsyncExitStack() as stack:
            stubs = await replicas(stack, sandbox, valkey.url, tmp_path)
            if seconds:
                sandbox.add_fault(path="*", kind="latency", seconds=seconds)
            sandbox.forget_calls()
            replies = await asyncio.gather(*(QUESTIONS[kind](stubs[n % 3]) for n in range(CALLERS)))
            calls, paths = sandbox.calls()["total"], sandbox.calls()["paths"]
    print(f"\ncold {kind}: {CALLERS} callers at 3 replicas, {calls} upstream call {dict(paths)}")
    assert len(replies) == CALLERS
    assert calls == 1


async def test_replicas_that_start_together_fetch_the_lists_once(tmp_path: Path) -> None:
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        sandbox.add_fault(path="*", kind="latency", seconds=0.2)
        sandbox.forget_calls()
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=valkey.url,
            redis_patience_seconds=5.0,
            shared_fetch_wait_seconds=25.0,
        )
        async with AsyncExitStack() as stack:
            await asyncio.gather(*(stack.enter_async_context(running_market(settings)) for _ in range(3)))
            paths = sandbox.calls()["paths"]
    print(f"\nthree replicas started together: {dict(paths)}")
    assert paths["/coins/list"] == 1
    assert paths["/simple/supported_vs_currencies"] == 1


async def test_overlapping_sets_of_coins_are_fetched_a_coin_at_a_time(tmp_path: Path) -> None:
    """Each replica gets requests for other coins, some in common: no coin is requested twice upstream."""
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        async with AsyncExitStack() as stack:
            stubs = await replicas(stack, sandbox, valkey.url, tmp_path)
            sandbox.add_fault(path="*", kind="latency", seconds=0.3)
            sandbox.forget_calls()
            requested = (["bitcoin", "ethereum"], ["ethereum", "solana"], ["bitcoin", "solana"])
            calls_of = zip(stubs, requested, strict=True)
            replies = await asyncio.gather(
                *(stub.GetPrices(pb.GetPricesRequest(ids=ids), timeout=30) for stub, ids in calls_of)
            )
            calls = sandbox.calls()["total"]
    assert [[price.id for price in reply.prices] for reply in replies] == list(requested)
    assert calls <= 2, "the third finds both of its coins being fetched"


async def test_when_the_holder_fails_another_replica_tries(tmp_path: Path) -> None:
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        async with AsyncExitStack() as stack:
            stubs = await replicas(stack, sandbox, valkey.url, tmp_path)
            sandbox.add_fault(path="/coins/bitcoin", kind="status", status=422, body=4, times=1)
            results = await asyncio.gather(
                *(QUESTIONS["document"](stubs[n % 3]) for n in range(30)), return_exceptions=True
            )
            again = await QUESTIONS["document"](stubs[0])
    failed = [result for result in results if isinstance(result, BaseException)]
    assert again.json
    assert all(isinstance(error, CoincastError) for error in failed)
    assert len(failed) <= 10, "at most those of the replica whose fetch failed"


async def test_a_holder_that_died_keeps_nobody_for_long(tmp_path: Path) -> None:
    """If a lease is never released, a waiting replica fetches itself after a bounded time."""
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        async with AsyncExitStack() as stack:
            (stub, *_) = await replicas(stack, sandbox, valkey.url, tmp_path, wait=2.5)
            client = open_redis(valkey.url, timeout_seconds=5.0)
            await QUESTIONS["document"](stub)
            (name,) = [key async for key in client.scan_iter("*document:coins/bitcoin")]
            prefix, _, key = name.decode().partition("document:")
            await client.set(
                f"{prefix}lease:document:{key.replace('bitcoin', 'solana')}", TOKEN_MARK + b"d" * 32
            )
            started = time.monotonic()
            reply = await stub.GetDocument(pb.GetDocumentRequest(path="coins/solana"), timeout=30)
            took = time.monotonic() - started
            await client.aclose()
    print(f"\na dead replica's lease: answered after {took:.1f} s")
    assert reply.json
    assert took >= 2.0, "it did wait"
    assert took < LEASE_SECONDS + 10


async def test_a_lease_is_anothers_only_while_it_looks_like_one() -> None:
    with running_valkey() as valkey:
        client = open_redis(valkey.url, timeout_seconds=5.0)
        executors = [RedisExecutor(wait_budget_seconds=15.0) for _ in range(2)]
        one, other = (RedisStore(client, executor, "t:") for executor in executors)
        assert (await one.claim(["a", "b"])).mine == ("a", "b")
        claim = await other.claim(["a", "c"])
        assert (claim.mine, claim.elsewhere) == (("c",), frozenset({"a"}))
        assert (await one.claim(["a"])).mine == ("a",), "one's own lease is no reason to wait"
        await client.set("t:lease:g", b"garbage")
        assert (await other.claim(["g"])).mine == ("g",)
        one.write({"a": b"value"}, 60)
        one.release(["b"])
        other.release(["a", "b"])
        await asyncio.gather(*(executor.aclose() for executor in executors))
        claim = await other.claim(["a", "b"])
        assert (claim.mine, claim.values) == (("a", "b"), {"a": b"value"})
        await client.aclose()
