"""A sick upstream: warm keys are served on, marked stale; no wrong number, no hang, no flood of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import Exhausted, Timeout, Unavailable
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import another_client, pro_sandbox, watched_machine
from tests.faults.market_storm import WARM, storm, warm_market

pytestmark = pytest.mark.faults


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


# What CoinGecko refuses for good, as a page in place of JSON is taken.
REFUSALS = ("an HTML error page",)


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
        if name in REFUSALS:
            # A refusal is not repeated within the hour: the figures stay stale and say why.
            assert all(price.provenance.stale and price.provenance.reason for price in reply.prices)
            assert sandbox.calls()["total"] <= calls
        else:
            assert not any(price.provenance.stale for price in reply.prices), "it recovers by itself"


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


FORMS = {"seconds": "2", "a date": "DATE", "nonsense": "soon", "absent": None, "huge": "86400"}


@pytest.mark.parametrize("form", list(FORMS))
async def test_a_storm_of_429_pauses_the_service_as_reported(
    sandbox: RunningSandbox, tmp_path: Path, form: str
) -> None:
    value = FORMS[form]
    if value == "DATE":
        stamp = time.gmtime(sandbox.health()["now"] + 30)
        value = time.strftime("%a, %d %b %Y %H:%M:%S GMT", stamp)
    async with warm_market(sandbox, tmp_path) as (stub, truth):
        fault: dict[str, Any] = {"kind": "status", "status": 429, "body": 5}
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
            f" reported downstream {caught.value.retry_after_seconds:.1f} s"
        )
        assert calls <= 2
        assert worst < stall.on_top_of(0.5)
        assert caught.value.retry_after_seconds is not None
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
        requested = 100
        results = await asyncio.gather(
            *(
                stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=20)
                for coin in coins[:requested]
            ),
            return_exceptions=True,
        )
        calls = sandbox.calls()["total"]
        print(f"\nretries: {requested} requests to a failing upstream made {calls} calls")
        # The mirror passes CoinGecko's own refusal on, with its status.
        for result in results:
            refused = isinstance(result, pb.GetDocumentResponse) and result.error_status == 503
            assert refused or isinstance(result, Unavailable | Timeout), result
        assert calls <= requested * 1.2 + 1


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
            await until_served(good)
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


async def until_served(stub: Any) -> None:
    """Wait until gRPC has worked off the flood: it drops calls while more than a thousand wait."""
    async with asyncio.timeout(30):
        while True:
            asks = [stub.GetPrices(pb.GetPricesRequest(ids=WARM), timeout=9) for _ in range(8)]
            replies = await asyncio.gather(*asks, return_exceptions=True)
            dropped = [each for each in replies if isinstance(each, BaseException)]
            if not dropped:
                return
            for error in dropped:
                assert isinstance(error, grpc.aio.AioRpcError), error
                assert error.code() is grpc.StatusCode.CANCELLED, error
            await asyncio.sleep(0.1)


async def _ask(stub: Any, coin: str, prices: bool) -> object:
    if prices:
        return await stub.GetPrices(pb.GetPricesRequest(ids=[coin], max_age_seconds=0), timeout=10)
    return await stub.GetDocument(pb.GetDocumentRequest(path=f"coins/{coin}"), timeout=10)
