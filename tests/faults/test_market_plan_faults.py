"""Three replicas and a thousand clients while Redis is killed and back empty, or stopped: the plan holds.

A minute is shortened to some seconds, for the limiter and for the sandbox that counts, so that it passes
several times: calls leave the window and others take their place while Redis comes and goes.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, Exhausted
from coincast_market_data import infrastructure
from coincast_market_data.rate_limit.limiter import Limits
from coincast_sandbox.app import SandboxOptions
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.testing import running_sandbox
from tests.contract.market_harness import running_market, settings_for
from tests.contract.valkey_harness import running_valkey

pytestmark = pytest.mark.faults
PLAN, CLIENTS, WAVES = 60, 1000, 28
# The limiter's window is a second longer than the minute that is counted, as in earnest (61 s to 60 s).
MINUTE_SECONDS, WINDOW_SECONDS = 7.0, 8.0
BETWEEN_WAVES_SECONDS = 1.3
# Redis is away for longer than replicas hold back for the others (5 s) and than a window, and back for longer
# than it settles (4 s).
AWAY_AT, BACK_AT = (1, 15), (9, 22)


def quick_minutes() -> float:
    """A clock on which MINUTE_SECONDS are a minute."""
    return time.monotonic() * 60 / MINUTE_SECONDS


# The limiter allows a second between the grant of a call and its arrival, which a busy machine exceeds.
@pytest.mark.alone
@pytest.mark.parametrize("strike", ["killed", "stopped"])
async def test_the_plan_holds_while_redis_comes_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strike: str
) -> None:
    monkeypatch.setattr(infrastructure, "rate_limits", lambda _: Limits(PLAN, 0, WINDOW_SECONDS))
    outcomes: list[CoincastError | None] = []
    options = SandboxOptions(plan=ApiPlan("pro", reach_days=0), monotonic=quick_minutes)
    with running_valkey() as valkey, running_sandbox(options) as sandbox:
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=valkey.url,
            redis_patience_seconds=0.05,
            quota_wait_seconds=0.2,
            replicas=3,
        )
        async with AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(running_market(settings)) for _ in range(3)]
            listed = await stubs[0].ListCoins(pb.ListCoinsRequest(limit=300), timeout=9)
            coins = [coin.id for coin in listed.coins]
            started, totals = time.monotonic(), []
            for wave in range(WAVES):
                share = range(wave * CLIENTS // WAVES, (wave + 1) * CLIENTS // WAVES)
                clients = [asyncio.create_task(ask(stubs[n % 3], coins[n % len(coins)], n)) for n in share]
                await asyncio.sleep(0.1)
                if wave in AWAY_AT:
                    valkey.kill() if strike == "killed" else valkey.stop()
                if wave in BACK_AT:
                    valkey.restart() if strike == "killed" else valkey.go_on()
                outcomes += await asyncio.gather(*clients)
                await asyncio.sleep(max(0.0, started + (wave + 1) * BETWEEN_WAVES_SECONDS - time.monotonic()))
                totals.append(sandbox.calls()["total"])
            minutes = (time.monotonic() - started) / MINUTE_SECONDS
            calls = sandbox.calls()
    limited = sum(isinstance(outcome, Exhausted) for outcome in outcomes)
    other = [outcome for outcome in outcomes if outcome is not None and not isinstance(outcome, Exhausted)]
    print(
        f"\nredis {strike} among {CLIENTS} clients of 3 replicas: {calls['total']} upstream calls in"
        f" {minutes:.1f} minutes of {MINUTE_SECONDS:g} s, at most {calls['peak_per_minute']} a minute"
        f" (plan {PLAN}), {limited} limited, {len(other)} other; calls by wave {totals}"
    )
    assert calls["peak_per_minute"] <= PLAN
    assert calls["total"] > 1.5 * PLAN, "the window slid: places came free and were taken"
    assert totals[BACK_AT[0] - 1] > totals[AWAY_AT[0]], "without Redis there are calls as well"
    assert limited > 0, "the clients did ask for more"
    assert not other, other[:3]


async def ask(stub: Any, coin: str, number: int) -> CoincastError | None:
    """A document that no other caller requests."""
    request = pb.GetDocumentRequest(path=f"coins/{coin}", query={"n": str(number)})
    try:
        await stub.GetDocument(request, timeout=20)
    except CoincastError as error:
        return error
    return None
