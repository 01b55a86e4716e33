"""Reading the body of a request: JSON only, so large, within so long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

from coincast_gateway.asgi_types import Receive, Scope, header
from coincast_gateway.errors.problems import INVALID, SLOW_BODY, TOO_LARGE, UNSUPPORTED
from coincast_gateway.errors.validation import refuse, validated
from coincast_gateway.rendering import JSON


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """How large a body may be, and how long it may take."""

    max_bytes: int
    seconds: float


async def read_body(model: type[BaseModel], scope: Scope, receive: Receive, bounds: BodyBounds) -> Any:
    """The validated body; an empty one counts as `{}`. Raises Refused."""
    raw = await _raw(scope, receive, bounds)
    kind = header(scope, b"content-type").partition(b";")[0].strip().lower()
    if raw and kind != JSON.encode():
        raise refuse(UNSUPPORTED, f"Send the body as {JSON}.", field="Content-Type", allowed=JSON)
    try:
        document = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise refuse(INVALID, f"The body is not JSON: {error}.", field="body") from None
    if not isinstance(document, dict):
        raise refuse(INVALID, "The body must be a JSON object.", field="body", allowed="a JSON object")
    return validated(model, document)


async def _raw(scope: Scope, receive: Receive, bounds: BodyBounds) -> bytes:
    raw = bytearray()
    try:
        async with asyncio.timeout(bounds.seconds):
            while True:
                message = await receive()
                raw += message.get("body", b"")
                if len(raw) > bounds.max_bytes:
                    most = f"at most {bounds.max_bytes} bytes"
                    raise refuse(TOO_LARGE, "The body is too large.", field="body", allowed=most)
                if not message.get("more_body"):
                    return bytes(raw)
    except TimeoutError:
        raise refuse(
            SLOW_BODY, f"The body did not arrive within {bounds.seconds:g} s.", field="body"
        ) from None
