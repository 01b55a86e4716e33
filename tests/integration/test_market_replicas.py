"""Three replicas behind one Redis: a thousand clients, and the plan is never exceeded."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, Exhausted
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import pro_sandbox, running_market, settings_for
from tests.contract.valkey_harness import running_valkey

PLAN = 30
CLIENTS = 1000


async def replicas(stack: AsyncExitStack, sandbox: RunningSandbox, url: str, folder: Path) -> list[Any]:
    """Three services on one Redis and one archive."""
    settings = settings_for(sandbox, folder, redis_url=url, per_minute_limit=PLAN, quota_wait_seconds=0.2)
    return [await stack.enter_async_context(running_market(settings)) for _ in range(3)]


async def test_three_replicas_and_a_thousand_clients_stay_within_the_plan(tmp_path: Path) -> None:
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        async with AsyncExitStack() as stack:
            stubs = await replicas(stack, sandbox, valkey.url, tmp_path)
            coins = [
                c.id for c in (await stubs[0].ListCoins(pb.ListCoinsRequest(limit=300), timeout=8)).coins
            ]
            await stubs[1].GetPrices(pb.GetPricesRequest(ids=[coins[1]]), timeout=8)
            outcomes = await asyncio.gather(*(client(stubs, coins, number) for number in range(CLIENTS)))
            calls = sandbox.calls()
            warm = await stubs[1].GetPrices(pb.GetPricesRequest(ids=[coins[1]]), timeout=8)
            shared = [(await s.GetStatus(pb.GetStatusRequest(), timeout=8)).quota.shared for s in stubs]
    limited = sum(isinstance(outcome, Exhausted) for outcome in outcomes)
    print(f"\n{CLIENTS} clients, plan {PLAN} a minute: {calls['total']} upstream calls, {limited} limited")
    assert calls["total"] <= PLAN
    assert calls["peak_per_minute"] <= PLAN
    assert limited > 0, "the clients did ask for more"
    assert warm.prices
    assert all(shared)


async def client(stubs: list[Any], coins: list[str], number: int) -> CoincastError | None:
    """One price, and one document that no other caller requests."""
    stub, coin = stubs[number % 3], coins[number % len(coins)]
    try:
        if number % 4:
            await stub.GetPrices(pb.GetPricesRequest(ids=[coin]), timeout=9)
        else:
            await stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=9)
    except CoincastError as error:
        return error
    return None


async def test_what_one_replica_fetched_the_others_have(tmp_path: Path) -> None:
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        async with AsyncExitStack() as stack:
            one, other, third = await replicas(stack, sandbox, valkey.url, tmp_path)
            await one.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=8)
            await one.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=20), timeout=8)
            sandbox.forget_calls()
            await other.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=8)
            history = await third.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=20), timeout=8)
            assert len(history.history.candles) == 20
            assert sandbox.calls()["total"] == 0
