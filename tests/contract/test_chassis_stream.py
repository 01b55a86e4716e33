"""Streams: errors in the middle, callers that leave, deadlines."""

import asyncio
import gc
from contextlib import aclosing
from typing import Any

import pytest

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2, market_pb2_grpc
from coincast_chassis import context
from coincast_chassis.errors import NotFound, Timeout
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.observability import metrics
from tests.contract.chassis_toy import NAME, Toy, served

REQUEST = market_pb2.StreamHistoryRequest()


class Streaming(Toy):
    """Sends two messages, then raises, waits or ends."""

    def __init__(self, then: str) -> None:
        super().__init__()
        self.then, self.left = then, asyncio.Event()

    async def StreamHistory(self, request, servicer_context):
        try:
            yield market_pb2.StreamHistoryResponse()
            yield market_pb2.StreamHistoryResponse()
            if self.then == "raise":
                raise NotFound("no such coin", suggestions=["bitcoin"])
            if self.then == "wait":
                await asyncio.sleep(30)
        finally:
            self.left.set()


class Flood(Streaming):
    """Sends large messages without end."""

    async def StreamHistory(self, request, servicer_context):
        try:
            error = common_pb2.ItemError(message="x" * 100_000)
            while True:
                yield market_pb2.StreamHistoryResponse(error=error)
        finally:
            self.left.set()


async def messages(toy: Streaming, **call: Any) -> int:
    count = 0
    async with served(toy, not_serving_seconds=0) as address, open_channel(address, service=NAME) as channel:
        async for _ in market_pb2_grpc.MarketDataServiceStub(channel).StreamHistory(REQUEST, **call):
            count += 1
    return count


async def test_a_stream_comes_whole():
    assert await messages(Streaming("end")) == 2


async def test_an_error_in_the_middle_comes_back_whole():
    with pytest.raises(NotFound) as caught:
        await messages(Streaming("raise"))
    assert caught.value.suggestions == ("bitcoin",)


async def test_a_deadline_ends_a_stream():
    with context.bind(deadline_seconds=0.3), pytest.raises(Timeout):
        await messages(Streaming("wait"))


async def test_a_caller_that_leaves_in_a_flood_closes_the_stream_in_its_own_context():
    noises, toy = [], Flood("flood")
    asyncio.get_running_loop().set_exception_handler(lambda _loop, noise: noises.append(noise))
    async with served(toy, not_serving_seconds=0) as address, open_channel(address, service=NAME) as channel:
        stream: Any = market_pb2_grpc.MarketDataServiceStub(channel).StreamHistory(REQUEST)
        async with aclosing(stream):
            async for _ in stream:
                await asyncio.sleep(
                    0.3
                )  # the server's window fills: it is cancelled in the middle of sending
                break
        await asyncio.wait_for(toy.left.wait(), 2)
        await asyncio.sleep(0.1)
    gc.collect()
    await asyncio.sleep(0)
    assert noises == []


async def test_a_caller_that_leaves_ends_the_stream_behind_it():
    toy = Streaming("wait")
    async with served(toy, not_serving_seconds=0) as address, open_channel(address, service=NAME) as channel:
        stream: Any = market_pb2_grpc.MarketDataServiceStub(channel).StreamHistory(REQUEST)
        async with aclosing(stream):
            async for _ in stream:
                break
        await asyncio.wait_for(toy.left.wait(), 2)
    assert metrics.SERVER_RUNNING.labels("MarketDataService")._value.get() == 0
