"""Reads a reply's body with a cap on its decoded size, so that a compression bomb cannot fill the memory."""

from __future__ import annotations

import json
import zlib
from typing import Any, Protocol

import httpx2
import orjson

from coincast_market_data.coingecko.error_mapping import BadData

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class _Decoder(Protocol):
    def feed(self, data: bytes, room: int) -> bytes: ...


class _Plain:
    def feed(self, data: bytes, room: int) -> bytes:
        return data[: room + 1]


class _Zipped:
    """Inflates at most `room` + 1 bytes a step, where the HTTP client's own decoder inflates all it holds."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP_OR_ZLIB)

    def feed(self, data: bytes, room: int) -> bytes:
        return self._inflate.decompress(data, room + 1)


async def read_bounded(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the decoded body.

    Args:
        response: An open response.
        max_bytes: Limit of the decoded body.

    Raises:
        BadData: The body is larger than `max_bytes` or wrongly encoded.
    """
    decoder = _decoder(response.headers.get("content-encoding", ""))
    parts: list[bytes] = []
    room = max_bytes
    try:
        async for chunk in response.aiter_raw():
            part = decoder.feed(chunk, room)
            if len(part) > room:
                raise BadData(f"CoinGecko's reply is larger than {max_bytes} bytes decoded and was dropped")
            room -= len(part)
            parts.append(part)
    except zlib.error as error:
        raise BadData(f"CoinGecko's reply is wrongly compressed: {error}") from error
    return b"".join(parts)


def _decoder(encoding: str) -> _Decoder:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _Plain()
    if name in ("gzip", "deflate"):
        return _Zipped()
    raise BadData(f"CoinGecko's reply has an encoding that was not requested: {name[:40]}")


def parse_json(raw: bytes) -> Any:
    """Parse a JSON document.

    NaN and infinities are returned as floats, which the parsers quarantine one by one.

    Raises:
        BadData: The text is not JSON.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadData(f"CoinGecko's reply is not JSON: {str(error)[:120]}") from error
