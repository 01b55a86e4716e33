"""A sick upstream: warm keys are served on, marked stale; no wrong number, no hang, no flood of calls."""

from __future__ import annotations

import asyncio
import time
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
from coincast_chassis.errors import CoincastError, Exhausted, Timeout, Unavailable
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import (
    Stall,
    another_client,
    pro_sandbox,
    running_market,
    settings_for,
    watched_machine,
)

pytestmark = pytest.mark.faults
WARM = ["bitcoin", "ethereum", "solana"]
RESIDENT_MEGABYTES = 1024 * 1024


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: RunningSandbox) -> Iterator[RunningSandbox]:
    shared_sandbox.clear_faults()
    shared_sandbox.forget_calls()
    yield shared_sandbox
    shared_sandbox.clear_faults()


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


FAULTS: dict[str, dict[str, Any]] = {
    "500s": {"kind": "status", "status": 500, "body": 1},
    "an HTML error page": {"kind": "status", "status": 403, "body": 6},
    "resets before the status": {"kind": "reset", "after_bytes": 0},
    "resets in the body": {"kind": "reset", "after_bytes": 20},
    "a dripping body": {"kind": "drip", "seconds_per_chunk": 0.5, "chunk_bytes": 1},
    "a hang": {"kind": "hang"},
    "cut JSON": {"kind": "malformed"},
    "NaN": {"kind": "nan", "value": "NaN"},
    "Infinity": {"kind": "nan", "value": "Infinity"},
    "1e999": {"kind": "nan", "value": "1e999"},
    "negative prices": {"kind": "nan", "value": "-1"},
    "zero prices": {"kind": "nan", "value": "0"},
    "null prices": {"kind": "nan", "value": "null"},
    "a jump of 100x": {"kind": "jump", "factor": 100},
    "a clock an hour ahead": {"kind": "clock", "shift_seconds": 3600},
    "a clock ten years back": {"kind": "clock", "shift_seconds": -315_000_000},
}


@pytest.mark.parametrize("name", list(FAULTS))
async def test_a_warm_key_outlives_the_upstream(sandbox: RunningSandbox, tmp_path: Path, name: str) -> None:
    async with warm_market(sandbox, tmp_path) as (stub, truth):
        sandbox.forget_calls()
        sandbox.add_fault(path="/simple/price", **FAULTS[name])
        started = time.monotonic()
        count, stale, worst, stall = await storm(stub, truth, seconds=2.0)
        calls, took = sandbox.calls()["total"], time.monotonic() - started
        print(
            f"\n{name}: {count} calls, all answered, {stale} stale figures,"
            f" worst {worst * 1000:.0f} ms, {calls} upstream calls in {took:.1f} s"
        )
        assert worst < stall.on_top_of(2.0)
        sandbox.clear_faults()
        await asyncio.sleep(0.8)
        for _ in range(20):
            reply = await stub.GetPrices(pb.GetPricesRequest(ids=WARM), timeout=5)
            if not any(price.provenance.stale for price in reply.prices):
                break
            await asyncio.sleep(0.1)
        assert not any(price.provenance.stale for price in reply.prices), "it recovers by itself"


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address on this machine, and what it was asked."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        body = b'{"bitcoin":{"usd":1.0},"cardano":{"usd":1.0}}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", asked
    finally:
        server.close()


async def test_a_redirect_to_this_machine_is_not_followed(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """Something answers there, with a price: it must never be asked."""
    async with listener() as (url, asked), warm_market(sandbox, tmp_path) as (stub, truth):
        sandbox.add_fault(path="/simple/price", kind="redirect", location=url)
        count, stale, worst, stall = await storm(stub, truth, seconds=1.0)
        with pytest.raises(Unavailable, match=r"redirect|alone"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["cardano"]), timeout=5)
        print(
            f"\na redirect to 127.0.0.1: {count} calls, all answered, {stale} stale figures,"
            f" worst {worst * 1000:.0f} ms; {len(asked)} calls to where it leads"
        )
        assert stale > 0, "the redirects were met"
        assert worst < stall.on_top_of(2.0)
        assert asked == []
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as follower:
            await follower.get(f"{sandbox.base_url}/simple/price", params={"ids": "bitcoin"})
        assert len(asked) == 1, "who does follow it gets there"


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


@pytest.mark.parametrize("name", ["500s", "a hang", "a dripping body", "cut JSON"])
async def test_a_cold_key_gets_a_clear_error_in_time(
    sandbox: RunningSandbox, tmp_path: Path, name: str
) -> None:
    async with warm_market(sandbox, tmp_path) as (stub, _):
        sandbox.add_fault(path="/simple/price", **FAULTS[name])
        started = time.perf_counter()
        async with watched_machine() as stall:
            with pytest.raises((Unavailable, Timeout)) as caught:
                await stub.GetPrices(pb.GetPricesRequest(ids=["cardano"]), timeout=5)
        took = time.perf_counter() - started
        print(
            f"\ncold key, {name}: {type(caught.value).__name__}"
            f" after {took * 1000:.0f} ms: {caught.value.message}"
        )
        assert took < stall.on_top_of(3.0)


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


FORMS = {"seconds": "2", "a date": "DATE", "nonsense": "soon", "absent": None, "huge": "86400"}


@pytest.mark.parametrize("form", list(FORMS))
async def test_a_storm_of_429_pauses_the_service_as_told(
    sandbox: RunningSandbox, tmp_path: Path, form: str
) -> None:
    value = FORMS[form]
    if value == "DATE":
        stamp = time.gmtime(sandbox.health()["now"] + 30)
        value = time.strftime("%a, %d %b %Y %H:%M:%S GMT", stamp)
    async with warm_market(sandbox, tmp_path) as (stub, truth):
        fault = {"kind": "status", "status": 429, "body": 5}
        sandbox.add_fault(path="*", **fault, **({"retry_after": value} if value else {}))
        sandbox.forget_calls()
        count, stale, worst, stall = await storm(stub, truth, seconds=1.2)
        calls = sandbox.calls()["total"]
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
        with pytest.raises(Exhausted) as caught:
            await stub.GetPrices(pb.GetPricesRequest(ids=["cardano"]), timeout=5)
        print(
            f"\n429 with Retry-After {form}: {count} calls answered"
            f" ({stale} stale figures), {calls} upstream calls,"
            f" paused for {status.quota.paused_for_seconds:.1f} s,"
            f" told downstream {caught.value.retry_after_seconds:.1f} s"
        )
        assert calls <= 2
        assert worst < stall.on_top_of(0.5)
        assert caught.value.retry_after_seconds <= 60.01
        least = {"seconds": 0.3, "a date": 1, "nonsense": 50, "absent": 50, "huge": 80_000}[form]
        assert status.quota.paused_for_seconds > least


async def test_the_breaker_lets_one_probe_through_for_500_callers(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    async with warm_market(
        sandbox,
        tmp_path,
        breaker_reset_seconds=1.0,
        retry_share=0.0,
        batch_window_seconds=0.0,
        call_deadline_seconds=6.0,
    ) as (stub, _):
        sandbox.add_fault(path="/simple/price", kind="status", status=500, body=1)
        for number in range(12):
            with pytest.raises(Unavailable):
                await stub.GetPrices(
                    pb.GetPricesRequest(ids=[f"{WARM[number % 3]}"], vs_currencies=["eur"]), timeout=5
                )
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
        assert {b.name: b.state for b in status.breakers}["prices"] == "open"
        assert {b.name: b.state for b in status.breakers}["series"] == "closed", (
            "a broken group costs no other"
        )
        sandbox.clear_faults()
        sandbox.add_fault(path="/simple/price", kind="latency", seconds=4.0)
        await asyncio.sleep(1.1)
        sandbox.forget_calls()
        codes = ["jpy", "gbp", "chf", "cad", "aud", "brl", "cny", "sek", "nok", "pln"]
        coins = [coin.id for coin in (await stub.ListCoins(pb.ListCoinsRequest(limit=50), timeout=5)).coins]
        questions = [
            pb.GetPricesRequest(ids=[coin], vs_currencies=[code]) for coin in coins for code in codes
        ]
        results = await asyncio.gather(
            *(stub.GetPrices(q, timeout=10) for q in questions), return_exceptions=True
        )
        calls = sandbox.calls()["paths"].get("/simple/price", 0)
        answered = sum(not isinstance(result, Exception) for result in results)
        print(
            f"\nhalf-open with {len(results)} callers: {calls}"
            f" upstream call while probing, {answered} answered"
        )
        assert len(results) == 500
        assert calls == 1
        await asyncio.sleep(4.0)
        sandbox.clear_faults()
        await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"], vs_currencies=["eur"]), timeout=5)
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
        assert {b.name: b.state for b in status.breakers}["prices"] == "closed"


async def test_retries_cost_at_most_a_fifth(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A share of failing calls over many different questions: what goes upstream is bounded."""
    async with warm_market(sandbox, tmp_path, breaker_failures=10_000, call_deadline_seconds=8.0) as (
        stub,
        _,
    ):
        coins = [coin.id for coin in (await stub.ListCoins(pb.ListCoinsRequest(limit=200), timeout=5)).coins]
        sandbox.add_fault(path="/coins/*", kind="status", status=503, body=1)
        sandbox.forget_calls()
        asked = 100
        results = await asyncio.gather(
            *(
                stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=20)
                for coin in coins[:asked]
            ),
            return_exceptions=True,
        )
        calls = sandbox.calls()["total"]
        print(f"\nretries: {asked} questions of a failing upstream made {calls} calls")
        assert {type(result) for result in results} <= {Unavailable, Timeout}
        assert calls <= asked * 1.2 + 1


async def test_ten_thousand_cancelled_callers_leave_the_pool_usable(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    async with warm_market(sandbox, tmp_path, max_connections=10, call_deadline_seconds=5.0) as (stub, truth):
        sandbox.add_fault(path="*", kind="latency", seconds=0.05)
        coins = [coin.id for coin in (await stub.ListCoins(pb.ListCoinsRequest(limit=300), timeout=5)).coins]
        cancelled = wave = 0
        while cancelled < 10_000 and wave < 100:  # a fast machine answers many a caller before it gives up
            calls = [
                asyncio.ensure_future(_ask(stub, coins[(wave * 7 + n) % len(coins)], n % 2 == 0))
                for n in range(500)
            ]
            await asyncio.sleep(0.02 + 0.003 * (wave % 20))
            cancelled += sum(call.cancel() for call in calls)
            await asyncio.gather(*calls, return_exceptions=True)
            wave += 1
        sandbox.clear_faults()
        await asyncio.sleep(1.0)
        # gRPC turns away a connection with so many resets for a while: the good client has its own.
        async with another_client(stub.address) as good:
            status = await good.GetStatus(pb.GetStatusRequest(), timeout=9)
            count, _, worst, _ = await storm(good, truth, seconds=1.0)
        close_wait = [c for c in psutil.Process().net_connections() if c.status == psutil.CONN_CLOSE_WAIT]
        print(
            f"\n{cancelled} cancels: pool has {status.pool.connections}"
            f" connections, {status.pool.requests_in_flight}"
            f" in flight, {len(close_wait)} in CLOSE_WAIT; then"
            f" {count} calls answered, worst {worst * 1000:.0f} ms"
        )
        assert cancelled >= 10_000
        assert status.pool.requests_in_flight == 0
        assert status.pool.connections <= 10
        assert not close_wait
        assert all(b.state == "closed" for b in status.breakers), "a cancel is no failure"


async def _ask(stub: Any, coin: str, prices: bool) -> object:
    if prices:
        return await stub.GetPrices(pb.GetPricesRequest(ids=[coin], max_age_seconds=0), timeout=10)
    return await stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=10)


async def test_bad_series_leave_only_good_days_in_the_archive(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Gaps, duplicates, jumps, NaN and unequal arrays at once: what is kept equals what a clean fetch
    gives.
    """
    async with warm_market(sandbox, tmp_path / "clean", call_deadline_seconds=8.0) as (stub, _):
        clean = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=60), timeout=10)
        truth = {candle.date: candle.close for candle in clean.history.candles}
    faults = [
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
                f" {report.quarantined_points} points put aside, {report.duplicate_points} duplicates,"
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
