"""A Redis that is really stopped (SIGSTOP): what each kind of request loses, cold and warm."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from coincast.market.v1 import market_pb2 as pb
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import pro_sandbox, running_market, settings_for, watched_machine
from tests.contract.valkey_harness import RunningValkey, running_valkey

pytestmark = pytest.mark.faults
LIMIT_SECONDS = 0.05
CODES = ["eur", "gbp", "jpy", "chf", "cad", "aud", "cny", "inr", "brl", "krw", "btc", "eth"]
Question = Callable[[Any, str, int], Awaitable[Any]]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


def price(stub: Any, coin: str, number: int) -> Awaitable[Any]:
    return stub.GetPrices(pb.GetPricesRequest(ids=[coin], vs_currencies=[CODES[number]]), timeout=10)


def document(stub: Any, coin: str, number: int) -> Awaitable[Any]:
    path, query = f"coins/{coin}", {"localization": "false", "n": str(number)}
    return stub.GetDocument(pb.GetDocumentRequest(path=path, query=query), timeout=10)


def history(stub: Any, coin: str, number: int) -> Awaitable[Any]:
    return stub.GetHistory(pb.GetHistoryRequest(id=coin, vs_currency=CODES[number], days=20), timeout=10)


KINDS: dict[str, Question] = {"price": price, "document": document, "history": history}


async def timed(question: Awaitable[Any]) -> float:
    started = time.perf_counter()
    await question
    return time.perf_counter() - started


@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_stopped_redis_costs_a_request_50_ms_once(
    sandbox: RunningSandbox, tmp_path: Path, kind: str
) -> None:
    """Several strikes; before each a cold and a warm question are timed with Redis, after it without."""
    ask = KINDS[kind]
    cold_before, cold_first, cold_later, warm_first = [], [], [], []
    with running_valkey() as valkey:
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=valkey.url,
            redis_patience_seconds=LIMIT_SECONDS,
            ready_reply_seconds=0.0,
        )
        async with running_market(settings) as stub, watched_machine() as stall:
            for strike in range(4):
                number = 3 * strike
                await redis_is(stub, up=True)
                cold_before += [await timed(ask(stub, coin, number)) for coin in ("bitcoin", "ethereum")]
                valkey.stop()
                cold_first.append(await timed(ask(stub, "solana", number)))
                warm_first.append(await timed(ask(stub, "bitcoin", number)))
                cold_later += [await timed(ask(stub, coin, number + 1)) for coin in ("cardano", "litecoin")]
                status = await stub.GetStatus(pb.GetStatusRequest(), timeout=10)
                assert not status.redis_up
                assert not status.quota.shared
                valkey.go_on()
            await redis_is(stub, up=True)
    usual = statistics.median(cold_before)
    lost = [seconds - usual for seconds in cold_first]
    print(
        f"\nredis stopped, cold {kind}: usual {usual * 1000:.0f} ms, slowest loss of the first to ask"
        f" {max(lost) * 1000:.0f} ms, median {statistics.median(lost) * 1000:.0f} (limit"
        f" {LIMIT_SECONDS * 1000:.0f}), of later ones {(max(cold_later) - usual) * 1000:.0f} ms;"
        f" slowest warm {max(warm_first) * 1000:.1f} ms; machine stalled {stall.worst_seconds * 1000:.0f} ms"
    )
    assert statistics.median(lost) < stall.on_top_of(LIMIT_SECONDS)
    assert max(lost) < stall.on_top_of(LIMIT_SECONDS)
    assert max(warm_first) < stall.on_top_of(LIMIT_SECONDS)


async def test_a_warm_price_requested_in_the_moment_of_the_stop_loses_no_more(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """A stale one at that: it is read from Redis first, and refreshed behind."""
    lost = []
    with running_valkey() as valkey:
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=valkey.url,
            redis_patience_seconds=LIMIT_SECONDS,
            ready_reply_seconds=0.0,
            prices_fresh_seconds=0.05,
        )
        async with running_market(settings) as stub, watched_machine() as stall:
            for _ in range(5):
                await redis_is(stub, up=True)
                await timed(price(stub, "bitcoin", 0))
                await asyncio.sleep(0.1)
                valkey.stop()
                lost.append(await timed(price(stub, "bitcoin", 0)))
                valkey.go_on()
    print(
        f"\nredis stopped, stale price: slowest {max(lost) * 1000:.0f} ms (limit {LIMIT_SECONDS * 1000:.0f})"
    )
    assert max(lost) < stall.on_top_of(LIMIT_SECONDS)


async def test_callers_in_the_moment_of_the_stop_are_all_served(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Many cold keys at once, Redis stopped among them: no caller gets an error or waits for seconds."""
    with running_valkey() as valkey:
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=valkey.url,
            redis_patience_seconds=LIMIT_SECONDS,
            per_minute_limit=3000,
        )
        async with running_market(settings) as stub, watched_machine() as stall:
            coins = [c.id for c in (await stub.ListCoins(pb.ListCoinsRequest(limit=40), timeout=9)).coins]
            await redis_is(stub, up=True)
            calls = [asyncio.create_task(timed(document(stub, coin, 1))) for coin in coins]
            calls += [asyncio.create_task(timed(price(stub, coin, 2))) for coin in coins]
            await asyncio.sleep(0.02)
            valkey.stop()
            calls += [asyncio.create_task(timed(price(stub, coin, 3))) for coin in coins]
            calls += [asyncio.create_task(timed(document(stub, coin, 4))) for coin in coins]
            seconds = await asyncio.gather(*calls)
            valkey.go_on()
    print(
        f"\nredis stopped among {len(seconds)} cold calls: all served, slowest {max(seconds) * 1000:.0f} ms,"
        f" the machine stalled {stall.worst_seconds * 1000:.0f} ms"
    )
    assert len(seconds) == 4 * len(coins)


@pytest.mark.parametrize("strike", ["killed", "stopped"])
async def test_cold_prices_right_after_redis_went_are_never_an_error(
    sandbox: RunningSandbox, tmp_path: Path, strike: str
) -> None:
    """Strike after strike, among callers: a cold currency in the next moment is a price all the same."""
    seconds: list[float] = []
    with running_valkey() as valkey:
        settings = settings_for(sandbox, tmp_path, redis_url=valkey.url, redis_patience_seconds=LIMIT_SECONDS)
        async with running_market(settings) as stub:
            coins = [c.id for c in (await stub.ListCoins(pb.ListCoinsRequest(limit=40), timeout=9)).coins]
            for turn in range(4):
                await redis_is(stub, up=True)
                ours = coins[turn * 10 : turn * 10 + 10]
                before = [asyncio.create_task(timed(price(stub, coin, 0))) for coin in ours]
                await asyncio.sleep(0.005 * turn)
                valkey.kill() if strike == "killed" else valkey.stop()
                seconds += await asyncio.gather(*before)
                for number in range(1, len(CODES)):
                    began = time.perf_counter()
                    reply = await price(stub, ours[0], number)
                    seconds.append(time.perf_counter() - began)
                    assert [found.vs_currency for found in reply.prices] == [CODES[number]]
                    assert not reply.errors
                valkey.restart() if strike == "killed" else valkey.go_on()
    worst = max(seconds) * 1000
    print(f"\nredis {strike}: {len(seconds)} cold prices right after, no error, slowest {worst:.0f} ms")


async def redis_is(stub: Any, *, up: bool) -> None:
    """Wait until the service knows."""
    for _ in range(200):
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=10)
        if status.redis_up == up and status.quota.shared == up:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the service never saw redis_up={up}")


def test_the_harness_stops_a_server() -> None:
    """A test of stopped servers is worth what its stop is worth."""
    with running_valkey() as valkey:
        assert alive(valkey)
        valkey.stop()
        assert not alive(valkey)
        valkey.go_on()
        assert alive(valkey)


def alive(valkey: RunningValkey) -> bool:
    import redis

    with redis.Redis(port=valkey.port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.TimeoutError:
            return False
