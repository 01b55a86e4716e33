"""Streams of clients that watch a service's health end when it stops."""

import asyncio
import logging

from coincast.market.v1 import market_pb2_grpc
from coincast_chassis.grpc.channel import open_channel
from tests.contract.chassis_toy import NAME, REQUEST, Toy, served


async def test_watchers_end_with_the_service_and_leave_nothing_behind(caplog):
    before = len(asyncio.all_tasks())
    async with served(Toy(), not_serving_seconds=0.1, drain_seconds=0) as address:
        channels = [open_channel(address, service=NAME) for _ in range(5)]
        for channel in channels:
            await market_pb2_grpc.MarketDataServiceStub(channel).GetStatus(REQUEST)
        watched = len(asyncio.all_tasks())
    assert watched > before + 5
    for channel in channels:
        await channel.close()
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - the end of a task sends no signal
            await asyncio.sleep(0.05)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
