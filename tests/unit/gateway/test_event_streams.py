"""A stream keeps its connection open through silence, and ends where it must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coincast_gateway.errors.validation import ProblemException
from coincast_gateway.formats.sse import STILL_HERE, Event, Streams


class Wire:
    """The server's side of a connection whose client can leave."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gone = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Story:
    """One event, then silence; remembers that it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def tell(self) -> AsyncIterator[Event]:
        try:
            yield Event("progress", {"so": "far"})
            await asyncio.Event().wait()
        finally:
            self.closed = True


def stream(streams: Streams, story: Story, wire: Wire) -> asyncio.Task[None]:
    scope = {"method": "GET", "path": "/x"}
    return asyncio.create_task(streams.send(story.tell(), scope, wire.receive, wire.send))


async def until(condition: Any) -> None:
    for _ in range(4000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to be")


async def test_silence_is_filled_and_a_drain_ends_the_stream() -> None:
    draining, wire, story = asyncio.Event(), Wire(), Story()
    streams = Streams(draining, quiet_seconds=0.01)
    running = stream(streams, story, wire)
    await until(lambda: wire.body.count(STILL_HERE) >= 3)
    assert b'id: 1\nevent: progress\ndata: {"so":"far"}\n\n' in wire.body
    assert not running.done()
    draining.set()
    await asyncio.wait_for(running, 20)
    assert (story.closed, streams.open) == (True, 0)
    assert wire.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_a_reader_that_leaves_closes_the_story() -> None:
    wire, story = Wire(), Story()
    running = stream(Streams(asyncio.Event()), story, wire)
    await until(lambda: b"far" in wire.body)
    wire.gone.set()
    await asyncio.wait_for(running, 20)
    assert story.closed


async def test_no_more_than_so_many_streams() -> None:
    streams, wire = Streams(asyncio.Event(), most=1), Wire()
    running = stream(streams, Story(), wire)
    await until(lambda: wire.sent)
    with pytest.raises(ProblemException) as refused:
        await stream(streams, Story(), Wire())
    assert refused.value.problem.retry_after == 5
    wire.gone.set()
    await running
    await asyncio.wait_for(asyncio.gather(stream(streams, Story(), wire)), 20)
