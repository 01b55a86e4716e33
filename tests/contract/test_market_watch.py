"""Live prices: a first message at once, then changes alone, for the price of one poll."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import InvalidInput
from tests.contract.market_mock import MockUpstream, market_over

# A poll follows after nine tenths of this time: a busy machine must not let prices grow stale in between.
QUICK = {"prices_fresh_seconds": 1.0, "watch_heartbeat_seconds": 60.0, "drain_seconds": 5.0}
SECONDS = 20


@pytest.fixture
def mock() -> MockUpstream:
    return MockUpstream()


@pytest.fixture
async def stub(mock: MockUpstream, tmp_path: Path) -> AsyncIterator[Any]:
    async with market_over(mock, tmp_path, **QUICK) as found:
        yield found


async def until(call: Any, wanted: Any) -> pb.WatchPricesResponse:
    """Read until a message is what is wanted."""
    async with asyncio.timeout(SECONDS):
        async for message in call:
            if wanted(message):
                return message
    raise AssertionError("the stream ended")


def watch(stub: Any, *ids: str, after: int = 0) -> Any:
    return stub.WatchPrices(pb.WatchPricesRequest(ids=ids, after_event_id=after), timeout=60)


async def test_the_first_message_comes_at_once_from_the_cache(stub: Any) -> None:
    await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
    call = watch(stub, "bitcoin")
    first = await anext(call)
    assert [(price.id, price.price) for price in first.prices] == [("bitcoin", 100.0)]
    await call.aclose()


async def until_price(call: Any, coin: str, price: float) -> pb.WatchPricesResponse:
    """Read until a coin has a price, and check that each message has changes alone.

    On a busy machine a poll comes late and the prices are stale until then, which is a change too.
    """
    known: dict[str, tuple[float, bool]] = {}

    def reached(message: pb.WatchPricesResponse) -> bool:
        now = {each.id: (each.price, each.provenance.stale) for each in message.prices}
        assert all(known.get(name) != state for name, state in now.items()), (known, now)
        known.update(now)
        return coin in now and now[coin][0] == price

    return await until(call, reached)


async def test_changes_alone_follow(mock: MockUpstream, stub: Any) -> None:
    call = watch(stub, "bitcoin", "ethereum")
    found = await until_price(call, "bitcoin", 100.0)
    mock.extra["simple/price"] = {"bitcoin": {"usd": 101.0}, "ethereum": {"usd": 100.0}}
    change = await until_price(call, "bitcoin", 101.0)
    assert change.event_id > found.event_id
    mock.extra["simple/price"] = {"bitcoin": {"usd": 101.0}, "ethereum": {"usd": 90.0}}
    await until_price(call, "ethereum", 90.0)
    await call.aclose()


async def test_a_heartbeat_repeats_the_last_event(mock: MockUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path, **(QUICK | {"watch_heartbeat_seconds": 0.2})) as stub:
        call = watch(stub, "bitcoin")
        last = await until(call, lambda message: message.prices)
        beat = await until(call, lambda message: message.heartbeat)
        assert (beat.event_id, list(beat.prices)) == (last.event_id, [])
        await call.aclose()


async def test_a_stream_resumes_after_an_event(mock: MockUpstream, stub: Any) -> None:
    other = watch(stub, "bitcoin", "ethereum")
    seen = (await until(other, lambda message: len(message.prices) == 2)).event_id
    call = watch(stub, "bitcoin", "ethereum", after=seen)
    fresh = [price.id for price in (await anext(call)).prices if not price.provenance.stale]
    assert fresh == [], "nothing changed since"
    for unknown in (1, seen + 10_000_000):
        again = watch(stub, "bitcoin", "ethereum", after=unknown)
        assert len((await anext(again)).prices) == 2, "an event of another process"
        await again.aclose()
    mock.extra["simple/price"] = {"bitcoin": {"usd": 100.0}, "ethereum": {"usd": 90.0}}
    changed: set[str] = set()

    def reached(message: pb.WatchPricesResponse) -> bool:
        changed.update(price.id for price in message.prices)
        return 90.0 in {price.price for price in message.prices}

    await until(other, reached)
    late = watch(stub, "bitcoin", "ethereum", after=seen)
    resumed = {price.id: price.price for price in (await anext(late)).prices}
    assert resumed["ethereum"] == 90.0
    assert set(resumed) <= changed, "what did not change since is not repeated"
    for stream in (other, call, late):
        await stream.aclose()


async def test_what_cannot_be_served_is_said_once(mock: MockUpstream, stub: Any) -> None:
    mock.extra["simple/price"] = {"bitcoin": {"usd": 100.0}}
    call = watch(stub, "bitcoin", "bitcon", "../x")
    first = await anext(call)
    assert [(error.id, error.kind) for error in first.errors] == [
        ("../x", common_pb2.ERROR_KIND_INVALID_INPUT)
    ]
    found = await until(call, lambda message: message.errors)
    assert [error.id for error in found.errors] == ["bitcon"]
    assert "bitcoin" in found.errors[0].suggestions
    mock.extra["simple/price"] = {"bitcoin": {"usd": 105.0}}
    change = await until(call, lambda message: message.prices)
    assert not change.errors
    await call.aclose()


async def test_a_question_that_cannot_be_is_refused(stub: Any) -> None:
    for request in (pb.WatchPricesRequest(), pb.WatchPricesRequest(ids=["bitcoin"], vs_currencies=["?"])):
        with pytest.raises(InvalidInput):
            await anext(stub.WatchPrices(request, timeout=5))


async def test_many_subscribers_cost_the_upstream_what_one_costs(mock: MockUpstream, stub: Any) -> None:
    calls = [watch(stub, "bitcoin", "ethereum") for _ in range(100)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(until(call, lambda message: len(message.prices) == 2) for call in calls))
    started, before = time.monotonic(), mock.calls["simple/price"]
    for price in (101.0, 102.0, 103.0):
        mock.extra["simple/price"] = {coin: {"usd": price} for coin in ("bitcoin", "ethereum")}
        await asyncio.gather(
            *(until(call, lambda m, p=price: any(row.price == p for row in m.prices)) for call in calls)
        )
    polls = (time.monotonic() - started) / (QUICK["prices_fresh_seconds"] * 0.9)
    assert mock.calls["simple/price"] - before <= polls + 1
    for call in calls:
        await call.aclose()


async def test_without_subscribers_there_are_no_calls(mock: MockUpstream, stub: Any) -> None:
    call = watch(stub, "bitcoin")
    await until(call, lambda message: message.prices)
    await call.aclose()
    await asyncio.sleep(1.0)
    before = mock.calls["simple/price"]
    await asyncio.sleep(1.0)
    assert mock.calls["simple/price"] == before


async def test_streams_end_when_the_service_drains(mock: MockUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path, **QUICK) as stub:
        call = watch(stub, "bitcoin")
        await until(call, lambda message: message.prices)
        started = time.monotonic()
    assert time.monotonic() - started < QUICK["drain_seconds"]
