"""A stream of histories past its deadline: received coins are used, the rest is requested again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta

import grpc.aio
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1.market_pb2_grpc import (
    MarketDataServiceServicer,
    add_MarketDataServiceServicer_to_server,
)
from coincast_chassis.errors import Unavailable
from coincast_chassis.grpc.channel import open_channel
from coincast_forecast.domain import History
from coincast_forecast.history.market_client import SERVICE, MarketClient


def history(coin: str, days: int, first: date = date(2015, 1, 1)) -> pb.History:
    candles = [pb.Candle(date=str(first + timedelta(days=n)), close=1.0) for n in range(days)]
    return pb.History(id=coin, vs_currency="usd", candles=candles)


class StuckMarket(MarketDataServiceServicer):
    """Sends the given messages, then nothing more."""

    def __init__(self, messages: list[pb.History]) -> None:
        self._messages = messages

    async def StreamHistory(
        self, request: pb.StreamHistoryRequest, context: object
    ) -> AsyncIterator[pb.StreamHistoryResponse]:
        for message in self._messages:
            yield pb.StreamHistoryResponse(history=message)
        await asyncio.Event().wait()

    async def GetHistory(self, request: pb.GetHistoryRequest, context: object) -> pb.GetHistoryResponse:
        await asyncio.Event().wait()
        raise AssertionError


@asynccontextmanager
async def client_of(messages: list[pb.History]) -> AsyncIterator[MarketClient]:
    server = grpc.aio.server()
    add_MarketDataServiceServicer_to_server(StuckMarket(messages), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{port}", service=SERVICE) as channel:
            yield MarketClient(channel, timeout_seconds=1.0)
    finally:
        await server.stop(None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ([], set()),
        ([history("bitcoin", 20)], {"bitcoin"}),
        ([history("bitcoin", 20), history("ethereum", 25)], {"bitcoin", "ethereum"}),
        ([history("bitcoin", 20), history("ethereum", 1000)], {"bitcoin"}),
        ([history("bitcoin", 1000), history("bitcoin", 3, date(2020, 1, 1))], {"bitcoin"}),
    ],
    ids=["nothing", "one coin", "two coins", "a coin that may go on", "a coin in two messages"],
)
async def test_what_has_arrived_in_time_is_used(sent: list[pb.History], arrived: set[str]) -> None:
    coins = ["bitcoin", "ethereum", "solana"]
    async with client_of(sent) as client:
        found = await client.fetch(coins, "usd", 2000)
    assert {coin for coin in coins if isinstance(found[coin], History)} == arrived
    late = [found[coin] for coin in coins if coin not in arrived]
    assert all(isinstance(error, Unavailable) and error.retry_after_seconds for error in late)


@pytest.mark.slow
async def test_one_coin_that_is_late_is_unavailable_for_now() -> None:
    async with client_of([]) as client:
        error = (await client.fetch(["bitcoin"], "usd", 2000))["bitcoin"]
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds
