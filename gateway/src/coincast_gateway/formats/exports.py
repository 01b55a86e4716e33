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
from coincast_gateway.errors.problems import OVERLOADED, Problem
from coincast_gateway.errors.validation import ProblemException
from coincast_gateway.formats.negotiation import MEDIA_TYPES, Format

# Each uses a thread at times, and some megabytes.
MAX_EXPORTS = 8
SUFFIXES = {Format.CSV: "csv", Format.ARROW: "arrow", Format.PARQUET: "parquet"}


class ExportSlots:
    """Limit of the exports that run in this process at the same time."""

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
    """Some rows of an export, as an Arrow record batch."""

    batch: Any


class Source(Protocol):
    """Source of the rows of an export.

    `opening` describes the table before its first row, `closing` once all rows were given.
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
    """One running export: the first part is ready before the head of the reply is sent."""

    source: Source
    wanted: Format
    name: str
    slots: ExportSlots
    headers: dict[str, str] = field(default_factory=dict)

    async def respond(self, scope: Scope) -> StreamingResponse:
        """Return the response once the first rows are there, so that an early error has its own status.

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
                    # Compression takes milliseconds: other requests run meanwhile.
                    yield await asyncio.to_thread(writer.write, part.batch)
                yield await asyncio.to_thread(writer.finish, self.source.closing())


def errors_text(errors: list[dict[str, Any]]) -> str:
    """Return item errors for the metadata of a file."""
    return json.dumps([{key: each[key] for key in ("id", "kind", "message")} for each in errors])
