"""A Redis that is killed, answers garbage or is full: what the first to ask loses, and those after it."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from coincast_chassis.redis import open_redis
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import (
    no_collector,
    pro_sandbox,
    running_market,
    settings_for,
    watched_machine,
)
from tests.contract.valkey_harness import RunningValkey, running_valkey
from tests.faults.test_market_redis_stopped import LIMIT_SECONDS, price, redis_is, timed

pytestmark = pytest.mark.faults
STRIKES = 5
GARBAGE = {"garbage": b"HTTP/1.1 200 OK\r\n\r\n", "a bulk without end": b"$999999999\r\n" + b"x" * 1000}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


class Between:
    """Passes the words on to a server; or answers in its place, where it has something to say."""

    def __init__(self, port: int) -> None:
        self.port, self.url, self.answer = port, "", b""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.port)
        replies = asyncio.create_task(self._pass_back(back, writer))
        try:
            while data := await reader.read(65_536):
                (writer if self.answer else forth).write(self.answer or data)
        except OSError:
            pass
        finally:
            replies.cancel()
            writer.close()
            forth.close()

    async def _pass_back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await back.read(65_536):
            writer.write(data)


@asynccontextmanager
async def between(valkey: RunningValkey) -> AsyncIterator[Between]:
    middle = Between(valkey.port)
    server = await asyncio.start_server(middle.talk, "127.0.0.1", 0)
    middle.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield middle
    finally:
        server.close()


async def strike(kind: str, valkey: RunningValkey, middle: Between, *, well: bool) -> None:
    """Break or repair Redis."""
    if kind == "killed":
        await asyncio.to_thread(valkey.restart if well else valkey.kill)
    elif kind == "full":
        client = open_redis(valkey.url, timeout_seconds=2.0)
        await client.config_set("maxmemory", "0" if well else "1")
        await client.aclose()
    else:
        middle.answer = b"" if well else GARBAGE[kind]


@pytest.mark.parametrize("kind", ["killed", "full", *GARBAGE])
async def test_a_redis_that_breaks_costs_a_request_50_ms_once(
    sandbox: RunningSandbox, tmp_path: Path, kind: str
) -> None:
    """Several times; before each a cold question is timed with Redis, after it cold and warm ones without."""
    before, first, warm, later = [], [], [], []
    with running_valkey() as valkey, ExitStack() as collector:
        async with between(valkey) as middle:
            settings = settings_for(
                sandbox,
                tmp_path,
                redis_url=middle.url if kind in GARBAGE else valkey.url,
                redis_patience_seconds=LIMIT_SECONDS,
                ready_reply_seconds=0.0,
            )
            async with running_market(settings) as stub, watched_machine() as stall:
                collector.enter_context(no_collector())
                for turn in range(STRIKES):
                    number = 2 * turn
                    await redis_is(stub, up=True)
                    before += [await timed(price(stub, coin, number)) for coin in ("bitcoin", "ethereum")]
                    await strike(kind, valkey, middle, well=False)
                    first.append(await timed(price(stub, "solana", number)))
                    warm.append(await timed(price(stub, "bitcoin", number)))
                    later += [await timed(price(stub, c, number + 1)) for c in ("cardano", "litecoin")]
                    await strike(kind, valkey, middle, well=True)
    usual = statistics.median(before)
    lost, after = ([seconds - usual for seconds in some] for some in (first, later))
    print(
        f"\nredis {kind}, cold price: usual {usual * 1000:.0f} ms, the first to ask lost"
        f" {statistics.median(lost) * 1000:.1f} ms (slowest {max(lost) * 1000:.0f}), later ones"
        f" {statistics.median(after) * 1000:.1f} (slowest {max(after) * 1000:.0f}), slowest warm"
        f" {max(warm) * 1000:.1f}; the machine stalled {stall.worst_seconds * 1000:.0f} ms"
    )
    assert statistics.median(lost) < LIMIT_SECONDS
    assert max(lost) < stall.on_top_of(LIMIT_SECONDS)
    assert statistics.median(after) < LIMIT_SECONDS / 2, "it is passed by, or answers its error at once"
    assert statistics.median(warm) < LIMIT_SECONDS / 2, "what the process has needs no Redis"
    assert max(warm) < stall.on_top_of(LIMIT_SECONDS)
