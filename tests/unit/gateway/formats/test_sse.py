"""A stream of events ends with its source, at shutdown, or by a problem, and its source is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from fastapi.sse import ServerSentEvent

from coincast_chassis.errors import Unavailable
from coincast_gateway.errors.problems import ProblemException
from coincast_gateway.formats.sse import EventStreams, json_event


class Source:
    """Sends events and then nothing; records that it was closed."""

    def __init__(self, *events: ServerSentEvent | Exception) -> None:
        self.events = events
        self.closed = False

    async def send(self) -> AsyncIterator[ServerSentEvent]:
        try:
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                yield event
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_a_shutdown_ends_the_stream_and_closes_its_source() -> None:
    draining, source = asyncio.Event(), Source(json_event("progress", {"so": "far"}))
    streams = EventStreams(draining)
    async with streams.open(source.send(), path="/x") as events:
        first = await anext(events)
        assert (first.event, first.raw_data, first.id, first.retry) == ("progress", '{"so":"far"}', "1", 2000)
        assert streams.open_count == 1
        draining.set()
        assert await asyncio.wait_for(anext(events, None), 20) is None
    assert (source.closed, streams.open_count) == (True, 0)


async def test_an_error_before_the_first_event_is_raised_and_a_later_one_is_the_last_event() -> None:
    streams = EventStreams(asyncio.Event())
    with pytest.raises(Unavailable):
        async with streams.open(Source(Unavailable("gone")).send(), path="/x"):
            raise AssertionError("it opened")
    source = Source(json_event("progress", 1), Unavailable("gone"), json_event("progress", 2))
    async with streams.open(source.send(), path="/x") as events:
        found = [event async for event in events]
    assert [event.event for event in found] == ["progress", "problem"]
    assert orjson.loads(found[-1].raw_data or "")["status"] == 503


async def test_no_more_than_so_many_streams() -> None:
    streams = EventStreams(asyncio.Event(), most=1)
    async with streams.open(Source(json_event("a", 1)).send(), path="/x"):
        with pytest.raises(ProblemException) as refused:
            async with streams.open(Source(json_event("a", 1)).send(), path="/x"):
                raise AssertionError("it opened")
    assert refused.value.problem.retry_after == 5
    async with streams.open(Source(json_event("a", 1)).send(), path="/x") as events:
        assert (await anext(events)).event == "a"
