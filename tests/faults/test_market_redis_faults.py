"""Redis killed, stopped, lying and full under load: no failed call, no wrong number, little time lost."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.redis import open_redis
from coincast_market_data.cache.two_level import RedisStore
from coincast_market_data.redis_executor import RedisExecutor
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import (
    Stall,
    no_collector,
    pro_sandbox,
    running_market,
    settings_for,
    watched_machine,
)
from tests.contract.valkey_harness import RunningValkey, running_valkey

pytestmark = pytest.mark.faults
# What Redis may cost a call; without it a call takes some milliseconds.
LOST_SECONDS = 0.05
COINS = ["bitcoin", "ethereum", "solana", "cardano"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


class Load:
    """Callers that ask without pause, and what they got."""

    def __init__(self, stub: Any, truth: dict[str, float]) -> None:
        self.stub, self.truth = stub, truth
        self.seconds: list[float] = []
        self.wrong: list[str] = []
        self.failed: list[str] = []
        self.stall = Stall()

    async def run(self, for_seconds: float, callers: int = 10) -> None:
        end = time.monotonic() + for_seconds
        with no_collector():
            async with watched_machine() as self.stall:
                await asyncio.gather(*(self._caller(end, number) for number in range(callers)))

    async def _caller(self, end: float, number: int) -> None:
        while time.monotonic() < end:
            coins = COINS[: 1 + number % len(COINS)]
            started = time.perf_counter()
            try:
                # A currency that changes defeats the ready reply: every call goes through the cache.
                reply = await self.stub.GetPrices(pb.GetPricesRequest(ids=coins), timeout=5)
            except Exception as error:
                self.failed.append(repr(error))
                continue
            self.seconds.append(time.perf_counter() - started)
            self._check(reply, coins)
            await asyncio.sleep(0.005)

    def _check(self, reply: pb.GetPricesResponse, coins: list[str]) -> None:
        if [price.id for price in reply.prices] != coins:
            self.wrong.append(f"requested {coins}, got {[price.id for price in reply.prices]}")
        for price in reply.prices:
            if not 0.8 < price.price / self.truth[price.id] < 1.25:
                self.wrong.append(f"{price.id} {price.price}")

    def tell(self, name: str) -> None:
        worst, middle = max(self.seconds), statistics.median(self.seconds)
        print(
            f"\n{name}: {len(self.seconds)} calls, {len(self.failed)} failed, {len(self.wrong)} wrong,"
            f" p50 {middle * 1000:.1f} ms, worst {worst * 1000:.0f} ms; the machine stalled"
            f" {self.stall.worst_seconds * 1000:.0f} ms"
        )
        assert not self.failed, self.failed[:3]
        assert not self.wrong, self.wrong[:3]
        assert worst < self.stall.on_top_of(LOST_SECONDS)


@asynccontextmanager
async def service(sandbox: RunningSandbox, valkey: RunningValkey, tmp_path: Path) -> AsyncIterator[Load]:
    settings = settings_for(
        sandbox,
        tmp_path,
        redis_url=valkey.url,
        redis_patience_seconds=0.05,
        prices_fresh_seconds=0.3,
        ready_reply_seconds=0.0,
    )
    async with running_market(settings) as stub:
        first = await stub.GetPrices(pb.GetPricesRequest(ids=COINS), timeout=5)
        yield Load(stub, {price.id: price.price for price in first.prices})


@pytest.mark.parametrize("strike", ["killed", "stopped"])
async def test_redis_goes_under_load_and_comes_back(
    sandbox: RunningSandbox, tmp_path: Path, strike: str
) -> None:
    with running_valkey() as valkey:
        async with service(sandbox, valkey, tmp_path) as load:
            run = asyncio.create_task(load.run(5.0))
            await asyncio.sleep(1.0)
            valkey.kill() if strike == "killed" else valkey.stop()
            await asyncio.sleep(2.0)
            status = await load.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
            assert not status.redis_up
            assert not status.quota.shared
            await asyncio.to_thread(valkey.restart if strike == "killed" else valkey.go_on)
            await run
            await asyncio.sleep(1.2)
            load.tell(f"redis {strike} under load")
            assert await comes_up(load.stub), "it notices by itself"


async def comes_up(stub: Any) -> bool:
    """Whether the status says within some seconds that Redis answers."""
    for _ in range(20):
        if (await stub.GetStatus(pb.GetStatusRequest(), timeout=5)).redis_up:
            return True
        await asyncio.sleep(0.3)
    return False


async def test_the_time_lost_to_a_stopped_redis_is_a_third_of_50_ms_a_word() -> None:
    with running_valkey() as valkey:
        client = open_redis(valkey.url)
        executor = RedisExecutor()
        store = RedisStore(client, executor, "t:")
        await client.set("t:k", b"v")
        assert await store.read(["k"]) == {"k": b"v"}
        first, later = [], []
        valkey.stop()
        async with watched_machine() as stall:
            for _ in range(9):
                first.append(await timed_read(store))
                later += [await timed_read(store) for _ in range(4)]
                await until_open(executor)
        valkey.go_on()
        print(
            f"\nstopped redis: the first read lost {statistics.median(first) * 1000:.1f} ms (slowest"
            f" {max(first) * 1000:.1f}), the next {statistics.median(later) * 1000:.2f} (slowest"
            f" {max(later) * 1000:.2f}); the machine stalled {stall.worst_seconds * 1000:.0f} ms"
        )
        # One of at most three words of a request with Redis: a third of 50 ms, and the loop's own delay.
        assert statistics.median(first) < LOST_SECONDS / 2
        assert max(first) < stall.on_top_of(LOST_SECONDS)
        assert statistics.median(later) < 0.001, "left alone until it answers"
        await executor.aclose()
        await client.aclose()


async def timed_read(store: RedisStore) -> float:
    started = time.perf_counter()
    assert await store.read(["k"]) == {}
    return time.perf_counter() - started


async def until_open(executor: RedisExecutor) -> None:
    """Without a probe the executor opens again after its pause."""
    for _ in range(1000):
        if executor.up:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the executor stays shut")


GARBAGE: dict[str, Callable[[], bytes]] = {
    "not RESP": lambda: b"HTTP/1.1 200 OK\r\n\r\n",
    "binary": lambda: bytes(range(256)),
    "endless bulk": lambda: b"$999999999\r\n" + b"x" * 1000,
    "wrong type": lambda: b":1\r\n",
    "another's values": lambda: b"*4\r\n" + b"$3\r\nabc\r\n" * 4,
    "an error": lambda: b"-ERR nonsense\r\n",
    "nothing, closed": lambda: b"",
}


@asynccontextmanager
async def liar(answer: bytes) -> AsyncIterator[str]:
    """A server that answers everything with the same bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65_536):
                writer.write(answer)
                await writer.drain()
                if not answer:
                    break
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


@pytest.mark.parametrize("kind", list(GARBAGE))
async def test_garbage_from_redis_never_reaches_a_caller(
    sandbox: RunningSandbox, tmp_path: Path, kind: str
) -> None:
    async with liar(GARBAGE[kind]()) as url:
        settings = settings_for(
            sandbox,
            tmp_path,
            redis_url=url,
            redis_patience_seconds=0.05,
            prices_fresh_seconds=0.2,
            ready_reply_seconds=0.0,
        )
        async with running_market(settings) as stub:
            first = await stub.GetPrices(pb.GetPricesRequest(ids=COINS), timeout=5)
            load = Load(stub, {price.id: price.price for price in first.prices})
            await load.run(1.5, callers=5)
            load.tell(f"garbage from redis ({kind})")
            status = await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
            assert not status.redis_up
            layer = next(layer for layer in status.cache_layers if layer.layer == "redis")
            assert (layer.hits, layer.errors > 0) == (0, True), "nothing of it was taken for a value"


async def test_a_full_redis_still_serves_what_it_has(sandbox: RunningSandbox, tmp_path: Path) -> None:
    with running_valkey() as valkey:
        async with service(sandbox, valkey, tmp_path) as load:
            client = open_redis(valkey.url, timeout_seconds=1.0)
            await client.config_set("maxmemory", "1")
            await load.run(2.0)
            load.tell("redis full")
            status = await load.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
            layer = next(layer for layer in status.cache_layers if layer.layer == "redis")
            assert layer.errors > 0
            assert await comes_up(load.stub), "it answers, though it refuses to write"
            await client.aclose()


async def test_cancelled_readers_never_get_anothers_value() -> None:
    """The trap of CVE-2023-28858, with many cancels on few connections."""
    with running_valkey() as valkey:
        client = open_redis(valkey.url, max_connections=3, timeout_seconds=1.0)
        store = RedisStore(client, RedisExecutor(wait_budget_seconds=1.0), "t:")
        await client.mset({f"t:k{n}": f"value-{n}".encode() for n in range(100)})
        wrong = read = cancelled = 0

        async def one(number: int) -> None:
            nonlocal wrong, read
            found = await store.read([f"k{number % 100}"])
            read += bool(found)
            wrong += any(value != f"value-{key[1:]}".encode() for key, value in found.items())

        for wave in range(40):
            tasks = [asyncio.create_task(one(wave * 50 + n)) for n in range(50)]
            await asyncio.sleep(0.0005 * (wave % 5))
            for task in tasks[::2]:
                cancelled += task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        print(f"\ncancelled redis readers: {cancelled} cancelled, {read} read, {wrong} wrong values")
        assert cancelled > 500
        assert read > 500
        assert wrong == 0
        await client.aclose()
