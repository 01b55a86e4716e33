"""A reply as its maker hands it over: bytes, what they describe, and how long they may be served again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """A whole reply, ready to be sent and kept."""

    body: bytes
    media_type: str = JSON
    status: int = 200
    # UNIX seconds of the moment that the data describes; None where there is no such moment.
    as_of: float | None = None
    # How long the bytes may be served again; 0 keeps them out of every cache.
    fresh_seconds: float = 0.0
    # Headers of its own, beside those that every reply has.
    headers: tuple[tuple[bytes, bytes], ...] = ()


def render_json(
    document: Any, *, status: int = 200, as_of: float | None = None, fresh_seconds: float = 0.0
) -> RenderedResponse:
    """`document` as a JSON reply; NaN and infinities become null, which JSON can say."""
    return RenderedResponse(orjson.dumps(document), status=status, as_of=as_of, fresh_seconds=fresh_seconds)
