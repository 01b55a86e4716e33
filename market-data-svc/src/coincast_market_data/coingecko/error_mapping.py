"""Map CoinGecko's error replies, in all six forms of body, to the error tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Unavailable
from coincast_market_data.coingecko.availability import Cause, UpstreamFailure
from coincast_market_data.coingecko.retry_after import parse_retry_after

PLAN_CODES = {10005, 10012}
KEY_CAUSES: dict[int | None, Cause] = {
    10002: Cause.MISSING_KEY,
    10010: Cause.WRONG_HOST,
    10011: Cause.WRONG_HOST,
}
# A refusal for the month, which no pause of a minute heals.
CREDITS = re.compile(r"month|credit", re.IGNORECASE)
LONGEST_MESSAGE = 300


class BeyondPlanReach(InvalidInput):
    """The plan does not include the request: too far back, or an endpoint of a higher plan."""


class BadData(Unavailable):
    """The upstream answered with something that cannot be used."""


class ErrorReply(Exception):  # noqa: N818 - a carrier, not an error of the tree
    """CoinGecko's own error reply, attached as the cause of the error that it is mapped to.

    Args:
        status: HTTP status.
        body: The body where it is a JSON object; empty otherwise.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body if isinstance(_parse(body), dict) else b""


def error_reply_of(error: BaseException) -> ErrorReply | None:
    """Return CoinGecko's own reply behind an error, where there is one."""
    cause = error.__cause__
    return cause if isinstance(cause, ErrorReply) else None


def status_of_error_document(document: Any) -> int:
    """Return the HTTP status that an error object of a reply with status 200 stands for."""
    code = _code_of(document)
    if code is not None and 400 <= code < 600:
        return code
    return 401 if code in KEY_CAUSES or code in PLAN_CODES else 400


def error_from_reply(status: int, body: bytes, headers: Mapping[str, str], now: float) -> CoincastError:
    """Return the error for a reply that is an error, whatever its HTTP status.

    Args:
        status: The HTTP status; 200 where the error stands in the body alone.
        body: The decoded body.
        headers: The reply's headers.
        now: UNIX seconds on the upstream's clock, for a Retry-After that is a date.
    """
    code, message = read_body(body)
    quoted = message or f"HTTP {status}"
    if status == 429 or code == 429 or quoted.strip().lower() == "throttled":
        if CREDITS.search(quoted):
            return UpstreamFailure(
                Cause.CREDITS_USED_UP, f"CoinGecko's credits of this month are used up: {quoted}."
            )
        wait = parse_retry_after(headers.get("retry-after"), now)
        return Exhausted(f"CoinGecko's rate limit is reached: {quoted}", retry_after_seconds=wait)
    if code in KEY_CAUSES:
        return UpstreamFailure(KEY_CAUSES[code], f"CoinGecko refuses the key: {quoted}.")
    if code in PLAN_CODES or status == 402:
        return BeyondPlanReach(f"CoinGecko's plan does not give this: {quoted}")
    return _by_status(code if status == 200 and code else status, quoted)


def _by_status(status: int, quoted: str) -> CoincastError:
    if status == 404:
        return NotFound(f"CoinGecko knows no such thing: {quoted}")
    if status in (400, 414, 422):
        return InvalidInput(f"CoinGecko refuses the request: {quoted}")
    if status in (401, 403):
        cause = Cause.INVALID_KEY if status == 401 else Cause.FORBIDDEN
        return UpstreamFailure(cause, f"CoinGecko refuses access (HTTP {status}): {quoted}.")
    if 300 <= status < 400:
        return UpstreamFailure(
            Cause.NOT_COINGECKO,
            f"A redirect (HTTP {status}) came instead of an answer of CoinGecko's.",
            retry_after_seconds=30,
        )
    if status < 300:
        return BadData(f"CoinGecko answered with an error in place of data: {quoted}")
    return UpstreamFailure(
        Cause.SERVER_ERROR, f"CoinGecko fails with HTTP {status}: {quoted}.", retry_after_seconds=5
    )


def error_in_document(document: Any) -> bool:
    """Return whether a document that came with HTTP 200 is an error: CoinGecko sends some that way."""
    if not isinstance(document, dict):
        return False
    if isinstance(document.get("error"), str):
        return True
    status = document.get("status")
    return any(
        isinstance(place, dict) and "error_code" in place
        for place in (document, status, document.get("error"))
    ) or (isinstance(document.get("error"), dict) and isinstance(document["error"].get("status"), dict))


def read_body(body: bytes) -> tuple[int | None, str]:
    """Return (error code, message) of an error body; (None, "") where it has neither."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip()
        return None, "" if text.startswith("<") else text[:LONGEST_MESSAGE]
    return _code_of(document), str(_message_of(document) or "")[:LONGEST_MESSAGE]


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


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
    """Return the objects in which code and message have been seen: top, status, error, error.status."""
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
