"""Server-sent events: a reply that goes on until its story ends, its reader leaves, or the gateway drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.logs import get_logger
from coincast_gateway.asgi_types import FIRST_BYTE_AT, Headers, Receive, Scope, Send
from coincast_gateway.errors.problems import OVERLOADED, Problem, internal, problem_from_error
from coincast_gateway.errors.validation import ProblemException

log = get_logger("coincast.gateway")
EVENT_STREAM = "text/event-stream"
HEADERS: Headers = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-store"),
    # A reverse proxy that waits for the whole reply would show a job's progress once it has ended.
    (b"x-accel-buffering", b"no"),
]
RECONNECT_MILLISECONDS = 2000
STILL_HERE = b": still here\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, and what it says as JSON."""

    name: str
    data: Any

    def encoded(self, number: int) -> bytes:
        """As the wire has it; JSON holds no bare line end, so one data line is enough."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, self.name.encode(), orjson.dumps(self.data))


Events = AsyncIterator[Event]


@dataclass(slots=True)
class Streams:
    """How many streams there may be at once, how they keep their connections open, and when they must end."""

    draining: asyncio.Event
    most: int = 128
    quiet_seconds: float = 15.0
    open: int = field(default=0, init=False)

    async def send(self, events: Events, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the events. What fails before the first one is raised, later it is the last event."""
        if self.open >= self.most:
            detail = f"{self.open} streams are open already."
            raise ProblemException(Problem(OVERLOADED, detail, retry_after_seconds=5.0))
        self.open += 1
        try:
            async with aclosing(events):  # type: ignore[type-var]  # every maker of events is a generator
                first = await anext(events)
                scope[FIRST_BYTE_AT] = time.perf_counter()
                await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
                if scope["method"] != "HEAD":
                    await self._rest(first, _told(events, scope["path"]), receive, send)
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.open -= 1

    async def _rest(self, first: Event, events: Events, receive: Receive, send: Send) -> None:
        """Every event until the story ends, the reader leaves or the gateway drains."""
        head = b"retry: %d\n\n" % RECONNECT_MILLISECONDS
        await _write(send, head + first.encoded(1))
        leave = [asyncio.create_task(_left(receive)), asyncio.create_task(self.draining.wait())]
        number = 1
        try:
            while True:
                event = await self._next(events, leave, send)
                if event is None:
                    return
                number += 1
                await _write(send, event.encoded(number))
        finally:
            await _ended(leave)

    async def _next(self, events: Events, leave: list[asyncio.Task[Any]], send: Send) -> Event | None:
        """The next event; None where there is none or nobody to hear it. Silence is filled with comments."""
        coming = asyncio.create_task(_following(events))
        try:
            while not coming.done():
                done, _ = await asyncio.wait(
                    {coming, *leave}, timeout=self.quiet_seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    await _write(send, STILL_HERE)
                elif coming not in done:
                    return None
            return coming.result()
        finally:
            await _ended([coming])


async def _following(events: Events) -> Event | None:
    return await anext(events, None)


async def _told(events: Events, path: str) -> Events:
    """The events; a failure is told as the last of them, since the status has been sent."""
    try:
        async for event in events:
            yield event
    except CoincastError as error:
        yield _problem_event(problem_from_error(error), path)
    except Exception:
        log.exception("a stream broke")
        yield _problem_event(internal(), path)


def _problem_event(problem: Problem, path: str) -> Event:
    return Event("problem", orjson.loads(problem.body(path)))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
