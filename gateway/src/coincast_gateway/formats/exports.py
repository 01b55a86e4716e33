"""Exports: tables that are streamed while the services behind the gateway stream their rows."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi.responses import StreamingResponse

from coincast_gateway.asgi_types import SENT_ROWS, Scope
from coincast_gateway.errors.problems import OVERLOADED, Problem, ProblemException
from coincast_gateway.formats.negotiation import MEDIA_TYPES, Format

# Concurrent exports; each uses some megabytes of memory, and a thread while it compresses.
MAX_EXPORTS = 8
SUFFIXES = {Format.CSV: "csv", Format.ARROW: "arrow", Format.PARQUET: "parquet"}


class ExportSlots:
    """Limiter of the concurrent exports of this process."""

    def __init__(self, most: int = MAX_EXPORTS) -> None:
        self._most = most
        self.running = 0

    @contextmanager
    def take(self) -> Any:
        """Hold a slot while the block runs.

        Raises:
            ProblemException: All slots are taken.
        """
        if self.running >= self._most:
            detail = f"{self.running} exports are running already."
            raise ProblemException(Problem(OVERLOADED, detail, retry_after_seconds=10.0))
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


@dataclass(slots=True)
class Part:
    """Rows of an export, as an Arrow record batch."""

    batch: Any


class Source(Protocol):
    """Source of the rows of an export.

    `opening` is the metadata that is known before the first row; `closing` returns the metadata that is only
    known after the last row.
    """

    schema: Any
    opening: Mapping[str, str]

    def parts(self) -> AsyncGenerator[Part]:
        """Yield the rows, part by part."""
        ...

    def closing(self) -> Mapping[str, str]:
        """Return the metadata collected while streaming."""
        ...


@dataclass(slots=True)
class Export:
    """One export.

    Args:
        source: Where the rows come from.
        wanted: The format of the file.
        name: The name of the file, without its suffix.
        slots: The limiter of concurrent exports.
        headers: Further headers of the response.
    """

    source: Source
    wanted: Format
    name: str
    slots: ExportSlots
    headers: dict[str, str] = field(default_factory=dict)

    async def respond(self, scope: Scope) -> StreamingResponse:
        """Return the response once the first rows have arrived, so that an error before them sets its status.

        The rows that were written are counted in the scope of the request, for the usage of its key.

        Raises:
            ProblemException: All slots are in use, or the source yields nothing.
            CoincastError: The source failed before its first row.
        """
        stream = self._bytes(scope)
        first = await anext(stream)

        async def body() -> AsyncIterator[bytes]:
            async with aclosing(stream):
                yield first
                async for part in stream:
                    if part:
                        yield part

        headers = {
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{self.name}.{SUFFIXES[self.wanted]}"',
            **self.headers,
        }
        return StreamingResponse(body(), media_type=MEDIA_TYPES[self.wanted], headers=headers)

    async def _bytes(self, scope: Scope) -> AsyncGenerator[bytes]:
        columnar = importlib.import_module("coincast_gateway.formats.columnar")
        with self.slots.take():
            async with aclosing(self.source.parts()) as parts:
                first = await anext(parts, None)
                writer = columnar.open_table(self.wanted, self.source.schema, self.source.opening)
                if first is not None:
                    scope[SENT_ROWS] = first.batch.num_rows
                    yield await asyncio.to_thread(writer.write, first.batch)
                async for part in parts:
                    scope[SENT_ROWS] += part.batch.num_rows
                    # Compression takes milliseconds, so it runs in a thread while the loop serves others.
                    yield await asyncio.to_thread(writer.write, part.batch)
                yield await asyncio.to_thread(writer.finish, self.source.closing())


def errors_text(errors: list[dict[str, Any]]) -> str:
    """Return item errors as JSON, for the metadata of a file."""
    return json.dumps([{key: each[key] for key in ("id", "kind", "message")} for each in errors])
