"""The service against a real TLS server that speaks HTTP/2: protocol, trust, connections, cancels, faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, Timeout, Unavailable
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.settings import Settings, UpstreamName
from tests.contract.market_harness import NO_REDIS, running_market
from tests.contract.tls_harness import TlsSandbox, tls_sandbox


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[TlsSandbox]:
    async with tls_sandbox(tmp_path / "tls") as running:
        yield running


def settings_for(sandbox: TlsSandbox, folder: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "port": 0,
        "upstream": UpstreamName.SANDBOX,
        "upstream_url": sandbox.base_url,
        "upstream_ca_file": sandbox.ca_file,
        "plan": PlanName.PRO,
        "api_key": "test",
        "per_minute_limit": 100_000,
        "per_month_limit": 0,
        "archive_dir": folder / "archive",
        "redis_url": NO_REDIS,
        "background_refresh": False,
        "warm_ids": (),
        "not_serving_seconds": 0.0,
        "drain_seconds": 1.0,
    }
    return Settings(**(values | changes))


async def ids(stub: Any, count: int) -> list[str]:
    reply = await stub.ListCoins(pb.ListCoinsRequest(limit=count), timeout=30)
    return [coin.id for coin in reply.coins]


async def test_a_hundred_calls_at_once_share_one_connection_over_http2(
    sandbox: TlsSandbox, tmp_path: Path
) -> None:
    async with running_market(settings_for(sandbox, tmp_path)) as stub:
        coins = await ids(stub, 100)
        documents = await asyncio.gather(
            *(stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=30) for coin in coins)
        )
        history = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=300), timeout=30)
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=30)
    print(
        f"\nHTTP/2 over TLS: {sandbox.versions.total()} calls, protocols {dict(sandbox.versions)},"
        f" {len(sandbox.peers)} connection(s)"
    )
    assert len(documents) == 100
    assert len(history.history.candles) == 300
    assert set(sandbox.versions) == {"2"}
    assert set(sandbox.schemes) == {"https"}
    assert len(sandbox.peers) == 1
    assert status.pool.connections == 1


@pytest.mark.parametrize("how", ["switched off here", "not spoken there"])
async def test_without_http2_it_is_http_1_1_over_a_bounded_pool(tmp_path: Path, how: str) -> None:
    alpn = ("http/1.1",) if how == "not spoken there" else ("h2", "http/1.1")
    async with tls_sandbox(tmp_path / "tls", alpn=alpn) as sandbox:
        settings = settings_for(sandbox, tmp_path, http2=how == "not spoken there", max_connections=5)
        async with running_market(settings) as stub:
            coins = await ids(stub, 40)
            await asyncio.gather(
                *(stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=30) for coin in coins)
            )
            status = await stub.GetStatus(pb.GetStatusRequest(), timeout=30)
    assert set(sandbox.versions) == {"1.1"}
    assert 1 < len(sandbox.peers) <= 5
    assert status.pool.connections <= 5


async def test_a_certificate_of_an_unknown_authority_is_refused(sandbox: TlsSandbox, tmp_path: Path) -> None:
    settings = settings_for(sandbox, tmp_path, upstream_ca_file=None, max_attempts=1)
    async with running_market(settings) as stub:
        with pytest.raises(Unavailable, match="No trusted TLS connection"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=30)
    assert not sandbox.versions, "nothing was said to it, the key least of all"


async def test_cancelled_callers_leave_no_stream_behind(sandbox: TlsSandbox, tmp_path: Path) -> None:
    async with running_market(settings_for(sandbox, tmp_path)) as stub:
        coins = await ids(stub, 60)
        await sandbox.add_fault(kind="latency", path="/coins/*", seconds=0.2)
        for _ in range(5):
            calls = [
                asyncio.ensure_future(
                    stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=30)
                )
                for coin in coins
            ]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        for _ in range(200):
            status = await stub.GetStatus(pb.GetStatusRequest(), timeout=30)
            if not status.pool.requests_in_flight:
                break
            await asyncio.sleep(0.05)
        reply = await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=30)
    assert status.pool.requests_in_flight == 0
    assert reply.prices
    assert all(breaker.state == "closed" for breaker in status.breakers)
    assert len(sandbox.peers) <= 2


FAULTS: dict[str, dict[str, Any]] = {
    "a dripping body": {"kind": "drip", "seconds_per_chunk": 0.5, "chunk_bytes": 1},
    "a hang": {"kind": "hang"},
    "a bomb": {"kind": "huge", "megabytes": 30},
    "a redirect": {"kind": "redirect", "location": "https://127.0.0.1:1/"},
    "a reset": {"kind": "reset", "after_bytes": 20},
}


@pytest.mark.parametrize("name", list(FAULTS))
async def test_what_ails_one_stream_costs_no_other(sandbox: TlsSandbox, tmp_path: Path, name: str) -> None:
    settings = settings_for(
        sandbox, tmp_path, call_deadline_seconds=2.0, max_reply_bytes=1024 * 1024, max_attempts=1
    )
    async with running_market(settings) as stub:
        await sandbox.add_fault(path="/coins/bitcoin", **FAULTS[name])
        sick = asyncio.create_task(stub.GetDocument(pb.GetDocumentRequest(path="coins/bitcoin"), timeout=30))
        well = [
            stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=30)
            for coin in ("ethereum", "solana", "cardano")
        ]
        replies = await asyncio.gather(*well, return_exceptions=True)
        with pytest.raises((Unavailable, Timeout)) as caught:
            await sick
        await sandbox.clear_faults()
        after = await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=30)
    failed = [reply for reply in replies if isinstance(reply, CoincastError)]
    print(f"\n{name} over HTTP/2: {caught.value.message}; {len(failed)} of 3 neighbours failed")
    assert after.prices
    assert not failed
