"""What an upstream may send that is none: redirects, bombs, broken JSON, bad series, another time of day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import CoincastError, Unavailable
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import (
    pro_sandbox,
    running_market,
    settings_for,
)
from tests.faults.market_storm import WARM, storm, warm_market

pytestmark = pytest.mark.faults
RESIDENT_MEGABYTES = 1024 * 1024


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on this machine, and the requests to it."""
    requested: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requested.append(await reader.readline())
        body = b'{"bitcoin":{"usd":1.0},"cardano":{"usd":1.0}}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", requested
    finally:
        server.close()


async def test_a_redirect_to_this_machine_is_not_followed(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A server that answers with a price: it must never get a request."""
    async with listener() as (url, requested), warm_market(sandbox, tmp_path) as (stub, truth):
        sandbox.add_fault(path="/simple/price", kind="redirect", location=url)
        count, stale, worst, stall = await storm(stub, truth, seconds=1.0)
        with pytest.raises(Unavailable, match=r"redirect|alone"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["cardano"]), timeout=5)
        print(
            f"\na redirect to 127.0.0.1: {count} calls, all answered, {stale} stale figures,"
            f" worst {worst * 1000:.0f} ms; {len(requested)} calls to where it leads"
        )
        assert stale > 0, "the redirects were met"
        assert worst < stall.on_top_of(2.0)
        assert requested == []
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as follower:
            await follower.get(f"{sandbox.base_url}/simple/price", params={"ids": "bitcoin"})
        assert len(requested) == 1, "who does follow it gets there"


async def test_a_redirect_to_the_upstream_itself_costs_no_further_call(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    async with warm_market(sandbox, tmp_path, retry_share=0.0) as (stub, _):
        sandbox.forget_calls()
        sandbox.add_fault(path="/simple/price", kind="redirect", location="/api/v3/ping")
        with pytest.raises(Unavailable, match="redirect"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["cardano"]), timeout=5)
        paths = sandbox.calls()["paths"]
        print(f"\na redirect to the upstream itself: {paths}")
        assert paths.get("/ping", 0) == 0
        assert paths["/simple/price"] == 1


async def test_a_bomb_is_dropped_at_the_cap(sandbox: RunningSandbox, tmp_path: Path) -> None:
    async with warm_market(sandbox, tmp_path, max_reply_bytes=4 * 1024 * 1024) as (stub, truth):
        sandbox.add_fault(path="/simple/price", kind="huge", megabytes=200)
        with pytest.raises(CoincastError):  # the sandbox builds its bomb once
            await stub.GetPrices(pb.GetPricesRequest(ids=["litecoin"]), timeout=20)
        before = psutil.Process().memory_info().rss
        with pytest.raises(Unavailable, match=r"larger|alone"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["cardano"]), timeout=10)
        grown = (psutil.Process().memory_info().rss - before) / RESIDENT_MEGABYTES
        count, _, worst, _ = await storm(stub, truth, seconds=1.0)
        print(
            f"\ngzip bomb of 200 MB: memory grew {grown:.0f} MB;"
            f" {count} warm calls answered, worst {worst * 1000:.0f} ms"
        )
        assert grown < 80


async def test_bad_series_leave_only_good_days_in_the_archive(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Gaps, duplicates, jumps, NaN and unequal arrays at once: what is kept equals what a clean fetch
    gives.
    """
    async with warm_market(sandbox, tmp_path / "clean", call_deadline_seconds=8.0) as (stub, _):
        clean = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=60), timeout=10)
        truth = {candle.date: candle.close for candle in clean.history.candles}
    faults: list[dict[str, Any]] = [
        {"kind": "gaps", "share_points": 0.02},
        {"kind": "duplicates", "share_points": 0.05},
        {"kind": "unequal"},
        {"kind": "jump", "factor": 50},
        {"kind": "nan", "value": "NaN", "share": 0.5},
    ]
    for fault in faults:
        sandbox.clear_faults()
        sandbox.add_fault(path="/coins/*/market_chart*", **fault)
        async with warm_market(sandbox, tmp_path / fault["kind"], call_deadline_seconds=8.0) as (stub, _):
            reply = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=60), timeout=10)
            status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=5)
            report = status.quality[0]
            off = [c.date for c in reply.history.candles if abs(c.close / truth[c.date] - 1) > 0.03]
            print(
                f"\n{fault['kind']}: {len(reply.history.candles)} of 60 days, {len(off)} wrong,"
                f" {report.quarantined_points} points quarantined, {report.duplicate_points} duplicates,"
                f" {len(reply.history.missing_dates)} days missing"
            )
            assert not off
            assert len(reply.history.candles) + len(reply.history.missing_dates) >= 58 - 60 * (
                fault["kind"] == "nan"
            )


class WrongClock(SystemClock):
    """A machine whose clock is off."""

    def __init__(self, off_seconds: float) -> None:
        self.off_seconds = off_seconds

    def now(self) -> float:
        return super().now() + self.off_seconds


@pytest.mark.parametrize("hours", [1, -1, 25])
async def test_a_machine_clock_that_is_off_changes_no_figure(
    sandbox: RunningSandbox, tmp_path: Path, hours: int
) -> None:
    settings = settings_for(sandbox, tmp_path, call_deadline_seconds=8.0)
    async with running_market(settings, clock=WrongClock(hours * 3600.0)) as stub:
        prices = await stub.GetPrices(pb.GetPricesRequest(ids=WARM), timeout=8)
        history = (await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=5), timeout=8)).history
    now = sandbox.health()["now"]
    ages = [price.provenance.age_seconds for price in prices.prices]
    closed = datetime.fromtimestamp(now - 35 * 60, UTC).date() - timedelta(days=1)
    print(f"\nclock {hours:+d} h: ages {max(ages):.0f} s at most, last closed day {history.candles[-1].date}")
    assert len(ages) == len(WARM)
    assert max(ages) < 90
    assert abs(prices.prices[0].provenance.as_of.seconds - now) < 90
    assert history.candles[-1].date == closed.isoformat()
    assert not history.provenance.stale
