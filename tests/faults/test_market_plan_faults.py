"""Three replicas and a thousand clients while Redis is killed and back empty, or stopped: the plan holds."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, Exhausted
from tests.contract.market_harness import pro_sandbox, running_market, settings_for
from tests.contract.valkey_harness import running_valkey

pytestmark = pytest.mark.faults
PLAN, CLIENTS = 60, 1000


@pytest.mark.parametrize("strike", ["killed", "stopped"])
async def test_the_plan_holds_while_redis_comes_and_goes(tmp_path: Path, strike: str) -> None:
    outcomes: list[CoincastError | None] = []
    with running_valkey() as valkey, pro_sandbox() as sandbox:
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=valkey.url,
            redis_patience_seconds=0.05,
            per_minute_limit=PLAN,
            quota_wait_seconds=0.2,
            replicas=3,
        )
        async with AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(running_market(settings)) for _ in range(3)]
            listed = await stubs[0].ListCoins(pb.ListCoinsRequest(limit=300), timeout=9)
            coins = [coin.id for coin in listed.coins]
            for wave in range(4):
                share = range(wave * CLIENTS // 4, (wave + 1) * CLIENTS // 4)
                clients = [asyncio.create_task(ask(stubs[n % 3], coins[n % len(coins)], n)) for n in share]
                await asyncio.sleep(0.1)
                if wave % 2 == 0:
                    valkey.kill() if strike == "killed" else valkey.stop()
                else:
                    valkey.restart() if strike == "killed" else valkey.go_on()
                outcomes += await asyncio.gather(*clients)
                await asyncio.sleep(1.0)
            calls = sandbox.calls()
    limited = sum(isinstance(outcome, Exhausted) for outcome in outcomes)
    other = [outcome for outcome in outcomes if outcome is not None and not isinstance(outcome, Exhausted)]
    print(
        f"\nredis {strike} among {CLIENTS} clients of 3 replicas: {calls['total']} upstream calls,"
        f" at most {calls['peak_per_minute']} a minute (plan {PLAN}), {limited} limited, {len(other)} other"
    )
    assert calls["peak_per_minute"] <= PLAN
    assert limited > 0, "the clients did ask for more"
    assert not other, other[:3]


async def ask(stub: Any, coin: str, number: int) -> CoincastError | None:
    """A document that nobody else asks for."""
    request = pb.GetDocumentRequest(path=f"coins/{coin}", query={"n": str(number)})
    try:
        await stub.GetDocument(request, timeout=20)
    except CoincastError as error:
        return error
    return None
