"""Server-sent events: streams that end with their source, at shutdown, or when the client disconnects.

A path operation declares `response_class=EventSourceResponse` and yields the events of `EventStreams.open`.
FastAPI encodes them, sends keep-alive comments and detects when the client disconnects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from fastapi.sse import ServerSentEvent

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_gateway.errors.problems import (
    OVERLOADED,
    Problem,
    ProblemException,
    internal,
    problem_from_error,
)
from coincast_gateway.rendering import encode_json

log = get_logger("coincast.gateway")
RECONNECT_MILLISECONDS = 2000

Events = AsyncIterator[ServerSentEvent]


def json_event(name: str, data: Any, *, event_id: str | None = None) -> ServerSentEvent:
    """Return an event with its data as JSON."""
    return ServerSentEvent(event=name, raw_data=encode_json(data).decode(), id=event_id)


class EventStreams:
    """Limits the open streams of this process, and ends them at shutdown.

    Args:
        draining: Set when the gateway begins to shut down; every stream ends then.
        most: The number of concurrent streams; a further one is answered with 503.
    """

    def __init__(self, draining: asyncio.Event, *, most: int = 128) -> None:
        self._draining = draining
        self._most = most
        self.open_count = 0

    @asynccontextmanager
    async def open(self, source: Events, *, path: str) -> AsyncIterator[Events]:
        """Yield the numbered events of a source, once its first event has arrived.

        An error before the first event is raised, so that it sets the status of the response. A later one
        becomes the last event, named `problem`.

        Args:
            source: An async generator of events.
            path: The path of the request, which problem events name as their `instance`.

        Raises:
            ProblemException: Too many streams are open.
        """
        if self.open_count >= self._most:
            detail = f"{self.open_count} streams are open already."
            raise ProblemException(Problem(OVERLOADED, detail, retry_after_seconds=5.0))
        self.open_count += 1
        try:
            async with aclosing(source):  # type: ignore[type-var]  # every source is a generator
                first = await anext(source, None)
                yield self._numbered(first, source, path)
        finally:
            self.open_count -= 1

    async def _numbered(self, first: ServerSentEvent | None, source: Events, path: str) -> Events:
        if first is None:
            return
        number = 1
        head = {"retry": RECONNECT_MILLISECONDS, "id": first.id or str(number)}
        yield first.model_copy(update=head)
        while (event := await self._next(source, path)) is not None:
            number += 1
            yield event if event.id else event.model_copy(update={"id": str(number)})
            if event.event == "problem":
                return

    async def _next(self, source: Events, path: str) -> ServerSentEvent | None:
        """Return the next event; None at the end of the source or at shutdown."""
        coming = asyncio.ensure_future(_next_event(source))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({coming, draining}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        except CoincastError as error:
            return _problem_event(problem_from_error(error), path)
        except Exception:
            log.exception("event_stream_failed")
            return _problem_event(internal(), path)
        finally:
            with suppress(asyncio.CancelledError):
                await cancel_and_wait((coming, draining))


async def _next_event(source: Events) -> ServerSentEvent | None:
    return await anext(source, None)


def _problem_event(problem: Problem, path: str) -> ServerSentEvent:
    return ServerSentEvent(event="problem", raw_data=problem.body(path).decode())
