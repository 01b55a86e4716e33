"""Count the upstream calls of many concurrent clients.

    python bench/market_upstream_calls.py

Two loads are measured: 10,000 requests by 1,000 clients over 20 coins, and many callers at once of one key
that is not cached (a stampede). Service and sandbox run in this process; the calls use gRPC and HTTP.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "contract"))

from market_harness import pro_sandbox, running_market, settings_for
from valkey_harness import running_valkey

from coincast.market.v1 import market_pb2 as pb
from coincast_sandbox.testing import RunningSandbox

CLIENTS, REQUESTS, COINS = 1_000, 10_000, 20
GOAL = 100


async def many_clients(sandbox: RunningSandbox, folder: Path, fresh_seconds: float) -> None:
    """Run clients that each request random selections of the coins, one call after another.

    Args:
        sandbox: The upstream.
        folder: The folder of the archive.
        fresh_seconds: How long a cached price is fresh.
    """
    settings = settings_for(
        sandbox, folder, prices_fresh_seconds=fresh_seconds, batch_window_seconds=0.1, background_refresh=True
    )
    async with running_market(settings) as stub:
        coins = [c.id for c in (await stub.ListCoins(pb.ListCoinsRequest(limit=COINS), timeout=10)).coins]
        sandbox.forget_calls()
        rng, stale = random.Random(7), 0

        async def client() -> None:
            nonlocal stale
            for _ in range(REQUESTS // CLIENTS):
                ids = rng.sample(coins, rng.randint(1, 5))
                reply = await stub.GetPrices(pb.GetPricesRequest(ids=ids), timeout=60)
                assert [p.id for p in reply.prices] == ids
                stale += reply.provenance.stale

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        took = time.perf_counter() - started
        calls = sandbox.calls()["total"]
    print(
        f"upstream calls per {REQUESTS} requests ({CLIENTS} clients, {COINS} coins,"
        f" fresh {fresh_seconds:g} s):"
        f" {calls} in {took:.1f} s = {REQUESTS / max(calls, 1):.0f} times fewer (goal {GOAL});"
        f" {stale} stale replies"
    )


async def stampede(sandbox: RunningSandbox, folder: Path) -> None:
    """Run a thousand callers at once of one key that is not cached, for each kind of call."""
    async with running_market(settings_for(sandbox, folder, batch_window_seconds=0.1)) as stub:
        for name, call in (
            ("price", lambda: stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=60)),
            ("history", lambda: stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=30), timeout=60)),
            ("document", lambda: stub.GetDocument(pb.GetDocumentRequest(path="coins/bitcoin"), timeout=60)),
            ("markets", lambda: stub.GetMarkets(pb.GetMarketsRequest(), timeout=60)),
        ):
            sandbox.forget_calls()
            await asyncio.gather(*(call() for _ in range(1000)))
            print(
                f"cold-key stampede, {name}: 1000 callers, {sandbox.calls()['total']} upstream call (goal 1)"
            )


async def stampede_of_replicas(sandbox: RunningSandbox, folder: Path) -> None:
    """Run three replicas with one Redis, and a hundred callers of each for one key that none has cached."""
    with running_valkey() as valkey:
        settings = settings_for(sandbox, folder, redis_url=valkey.url, batch_window_seconds=0.1)
        async with AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(running_market(settings)) for _ in range(3)]
            for name, call in (
                ("price", lambda stub: stub.GetPrices(pb.GetPricesRequest(ids=["solana"]), timeout=60)),
                (
                    "history",
                    lambda stub: stub.GetHistory(pb.GetHistoryRequest(id="solana", days=30), timeout=60),
                ),
                (
                    "document",
                    lambda stub: stub.GetDocument(pb.GetDocumentRequest(path="coins/solana"), timeout=60),
                ),
            ):
                sandbox.forget_calls()
                await asyncio.gather(*(call(stubs[number % 3]) for number in range(300)))
                calls = sandbox.calls()["total"]
                print(f"cold-key stampede at 3 replicas, {name}: 300 callers, {calls} upstream call (goal 1)")


async def main() -> None:
    """Run all measurements on one sandbox."""
    with tempfile.TemporaryDirectory() as folder, pro_sandbox() as sandbox:
        await many_clients(sandbox, Path(folder), 30.0)
        await many_clients(sandbox, Path(folder), 1.0)
        await stampede(sandbox, Path(folder))
        await stampede_of_replicas(sandbox, Path(folder) / "replicas")


if __name__ == "__main__":
    asyncio.run(main())
