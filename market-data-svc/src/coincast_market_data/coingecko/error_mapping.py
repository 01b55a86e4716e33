"""Map CoinGecko's error replies, in all six forms of body, to the error tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Unavailable
from coincast_market_data.coingecko.retry_after import parse_retry_after

PLAN_CODES = {10005, 10012}
KEY_CODES = {10002, 10010, 10011}
LONGEST_MESSAGE = 300


class BeyondPlan(InvalidInput):
    """The plan does not give what was asked for: too far back, or an endpoint of a higher plan."""


class BadData(Unavailable):
    """The upstream answered with something that cannot be used."""


def error_from_reply(status: int, body: bytes, headers: Mapping[str, str], now: float) -> CoincastError:
    """The error for a reply that is not 200. `now`: UNIX seconds on the upstream's clock."""
    code, message = read_body(body)
    said = message or f"HTTP {status}"
    if status == 429 or code == 429 or said.strip().lower() == "throttled":
        wait = parse_retry_after(headers.get("retry-after"), now)
        return Exhausted(f"CoinGecko's rate limit is reached: {said}", retry_after_seconds=wait)
    if code in KEY_CODES:
        return Unavailable(
            f"CoinGecko refuses the key or the host: {said} (check MARKET_PLAN, MARKET_API_KEY)"
        )
    if code in PLAN_CODES or status == 402:
        return BeyondPlan(f"CoinGecko's plan does not give this: {said}")
    return _by_status(status, said)


def _by_status(status: int, said: str) -> CoincastError:
    if status == 404:
        return NotFound(f"CoinGecko knows no such thing: {said}")
    if status in (400, 414, 422):
        return InvalidInput(f"CoinGecko refuses the request: {said}")
    if status in (401, 403):
        return Unavailable(f"CoinGecko refuses access (HTTP {status}): {said}", retry_after_seconds=60)
    if 300 <= status < 400:
        return BadData(f"CoinGecko answered with a redirect (HTTP {status}), which is not followed")
    return Unavailable(f"CoinGecko fails with HTTP {status}: {said}", retry_after_seconds=5)


def read_body(body: bytes) -> tuple[int | None, str]:
    """(error code, message) of an error body; (None, "") where it tells nothing."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip()
        return None, "" if text.startswith("<") else text[:LONGEST_MESSAGE]
    return _code_of(document), str(_message_of(document) or "")[:LONGEST_MESSAGE]


def _code_of(document: Any) -> int | None:
    for place in _places(document):
        code = place.get("error_code")
        if isinstance(code, int):
            return code
    return None


def _message_of(document: Any) -> str | None:
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        return str(document["error"])
    for place in _places(document):
        if isinstance(place.get("error_message"), str):
            return str(place["error_message"])
    return None


def _places(document: Any) -> list[dict[str, Any]]:
    """The objects in which code and message have been seen: top, status, error, error.status."""
    found: list[dict[str, Any]] = []
    if isinstance(document, dict):
        found.append(document)
        for key in ("status", "error"):
            inner = document.get(key)
            if isinstance(inner, dict):
                found.append(inner)
                if isinstance(inner.get("status"), dict):
                    found.append(inner["status"])
    return found
