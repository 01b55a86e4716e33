"""A market-data service with warm keys over a sick upstream, and callers that ask it without a break."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from coincast.market.v1 import market_pb2 as pb
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import (
    Stall,
    running_market,
    settings_for,
    watched_machine,
)

WARM = ["bitcoin", "ethereum", "solana"]


@asynccontextmanager
async def warm_market(
    sandbox: RunningSandbox, folder: Path, **changes: Any
) -> AsyncIterator[tuple[Any, dict[str, float]]]:
    """A service that has the prices of WARM, stale at once; and those prices."""
    values: dict[str, Any] = {
        "prices_fresh_seconds": 0.02,
        "ready_reply_seconds": 0.0,
        "batch_window_seconds": 0.01,
        "call_deadline_seconds": 1.0,
        "breaker_reset_seconds": 0.5,
        "quota_wait_seconds": 0.2,
    }
    async with running_market(settings_for(sandbox, folder, **(values | changes))) as stub:
        reply = await stub.GetPrices(pb.GetPricesRequest(ids=WARM), timeout=5)
        truth = {price.id: price.price for price in reply.prices}
        await asyncio.sleep(0.12)
        yield stub, truth


async def storm(
    stub: Any, truth: dict[str, float], *, seconds: float, callers: int = 8
) -> tuple[int, int, float, Stall]:
    """(calls, stale prices, worst seconds, the machine's stalls) of callers on warm keys.

    Every call must be answered, and truly.
    """
    end, count, stale, worst = time.monotonic() + seconds, 0, 0, 0.0

    async def caller() -> None:
        nonlocal count, stale, worst
        while time.monotonic() < end:
            started = time.perf_counter()
            reply = await stub.GetPrices(pb.GetPricesRequest(ids=WARM), timeout=5)
            worst = max(worst, time.perf_counter() - started)
            count += 1
            assert [price.id for price in reply.prices] == WARM
            for price in reply.prices:
                stale += price.provenance.stale
                assert not price.provenance.stale or price.provenance.reason
                assert 0.8 < price.price / truth[price.id] < 1.25, price
                assert price.provenance.age_seconds < 3600, price
            await asyncio.sleep(0.01)

    async with watched_machine() as stall:
        await asyncio.gather(*(caller() for _ in range(callers)))
    return count, stale, worst, stall
