"""What the service does by itself at its start: it warms the cache until it is warm, and shows its gauges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import Unavailable
from coincast_market_data.jobs import warmup
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import pro_sandbox, running_market, settings_for
from tests.contract.valkey_harness import running_valkey

WARM = ("bitcoin", "ethereum")
DOWN: dict[str, Any] = {"kind": "status", "status": 500, "body": 1}


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


async def within(seconds: float, there: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while True:
        if there() or time.monotonic() > end:
            return there()
        await asyncio.sleep(0.05)


def called(sandbox: RunningSandbox, path: str) -> int:
    return int(sandbox.calls()["paths"].get(path, 0))


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"coincast_{name}", labels)


@pytest.mark.parametrize("path", ["/ping", "/coins/list", "/simple/supported_vs_currencies"])
async def test_one_failed_call_leaves_no_warm_coin_unfetched(
    sandbox: RunningSandbox, tmp_path: Path, path: str
) -> None:
    sandbox.add_fault(path=path, **DOWN)
    async with running_market(settings_for(sandbox, tmp_path, warm_ids=WARM, retry_share=0.0)):
        assert called(sandbox, "/simple/price") == 1


async def test_what_failed_at_the_start_is_tried_again_until_it_is_there(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "FIRST_PAUSE_SECONDS", 0.2)
    sandbox.add_fault(path="/simple/price", **DOWN)
    async with running_market(settings_for(sandbox, tmp_path, warm_ids=WARM, retry_share=0.0)) as stub:
        before = {path: called(sandbox, path) for path in ("/ping", "/coins/list")}
        assert await within(5.0, lambda: called(sandbox, "/simple/price") >= 3)
        sandbox.clear_faults()
        failed = called(sandbox, "/simple/price")
        assert await within(5.0, lambda: called(sandbox, "/simple/price") > failed)
        await asyncio.sleep(0.3)
        done = called(sandbox, "/simple/price")
        reply = await stub.GetPrices(pb.GetPricesRequest(ids=list(WARM)), timeout=5)
        await asyncio.sleep(2.0)
        assert [price.id for price in reply.prices] == list(WARM)
        assert called(sandbox, "/simple/price") == done, "warm, and left alone from then on"
        assert {path: called(sandbox, path) for path in before} == before, (
            "existing data is not requested again"
        )


@pytest.mark.parametrize("refresh", [True, False])
async def test_the_gauges_show_the_quota_whether_or_not_prices_are_refreshed(
    sandbox: RunningSandbox, tmp_path: Path, refresh: bool
) -> None:
    names = ("market_quota_limit_calls", "market_quota_month_limit_calls", "market_redis_up")
    with running_valkey() as valkey:
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=valkey.url,
            background_refresh=refresh,
            per_minute_limit=37 + refresh,
            per_month_limit=4100 + refresh,
        )
        async with running_market(settings):
            expected = [37.0 + refresh, 4100.0 + refresh, 1.0]
            await within(3.0, lambda: [gauge(name) for name in names] == expected)
            assert [gauge(name) for name in names] == expected


async def test_a_breaker_at_the_upstream_shows_among_all_breakers(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    settings = settings_for(sandbox, tmp_path, retry_share=0.0, batch_window_seconds=0.0)
    async with running_market(settings) as stub:
        assert gauge("breaker_state", breaker="prices") == 0
        sandbox.add_fault(path="/simple/price", **DOWN)
        for _ in range(6):
            with pytest.raises(Unavailable):
                await stub.GetPrices(pb.GetPricesRequest(ids=["solana"]), timeout=5)
        assert gauge("breaker_state", breaker="prices") == 2
        assert gauge("market_breaker_state", breaker="prices") == 2
