"""Rendered responses: what a handler returns when it has encoded the body itself."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel

from coincast_chassis.json_numbers import round_numbers
from coincast_gateway.cache.body_ages import JSON
from coincast_gateway.cache.cached_response import RenderedResponse

__all__ = ["JSON", "RenderedResponse", "encode_json", "render", "render_json"]


def encode_json(document: Any) -> bytes:
    """Return a document as JSON with its numbers rounded; NaN and infinities become null."""
    return orjson.dumps(round_numbers(document))


def render_json(
    document: Any,
    *,
    status: int = 200,
    as_of: float | None = None,
    fresh_seconds: float = 0.0,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> RenderedResponse:
    """Return a document as a JSON response; NaN and infinities become null."""
    return RenderedResponse(
        encode_json(document), status=status, as_of=as_of, fresh_seconds=fresh_seconds, headers=headers
    )


def render(result: Any, *, fresh_seconds: float) -> RenderedResponse:
    """Return the result of a handler as a rendered response; models and dictionaries become JSON."""
    if isinstance(result, RenderedResponse):
        return result
    if isinstance(result, BaseModel):
        return render_json(result.model_dump(mode="json", by_alias=True), fresh_seconds=fresh_seconds)
    return render_json(result, fresh_seconds=fresh_seconds)
