"""Errors in the forms in which CoinGecko writes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from coincast_chassis.errors import (
    CoincastError,
    Conflict,
    Exhausted,
    InvalidInput,
    NotFound,
    NotReady,
    Timeout,
    Unavailable,
)
from coincast_gateway.errors.problems import MAX_RETRY_AFTER_SECONDS

# The JSON forms of CoinGecko's errors: {"error": text}, {"status": {...}} and {"error": {"status": {...}}}.
ErrorForm = Literal["plain", "status", "nested"]
# Prefixes that market-data-svc puts before CoinGecko's messages. Clients of the mirror expect the messages
# without them.
_PREFIXES = (
    "CoinGecko refuses the request: ",
    "CoinGecko has no such item: ",
    "CoinGecko's rate limit is reached: ",
)
_PLAN = "CoinGecko's plan does not give this: "


class CompatError(Exception):
    """An error response of the mirror.

    Args:
        status: The HTTP status.
        form: The form of the body.
        message: The message.
        code: CoinGecko's error code; by default the HTTP status.
        retry_after: Seconds to wait before a retry.
        original: CoinGecko's own body, which is sent unchanged; empty if the gateway writes the body.
    """

    def __init__(
        self,
        status: int,
        form: ErrorForm,
        message: str,
        *,
        code: int | None = None,
        retry_after: float | None = None,
        original: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.original = original
        self.status = status
        self.form = form
        self.message = message
        self.code = status if code is None else code
        self.retry_after = retry_after

    def body(self) -> bytes:
        """Return the JSON body."""
        if self.original:
            return self.original
        status: dict[str, Any] = {"error_code": self.code, "error_message": self.message}
        if self.form == "plain":
            return orjson.dumps({"error": self.message})
        if self.form == "status":
            return orjson.dumps({"status": status})
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        return orjson.dumps({"error": {"status": {"timestamp": stamp, **status}}})

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return Retry-After, which CoinGecko's client obeys only up to 60 s, or Allow for a 405."""
        if self.status == 405:
            return [(b"allow", b"GET, HEAD, OPTIONS")]
        if self.status not in (429, 503):
            return []
        wanted = self.retry_after if self.retry_after is not None and math.isfinite(self.retry_after) else 1.0
        return [(b"retry-after", str(max(1, min(MAX_RETRY_AFTER_SECONDS, math.ceil(wanted)))).encode())]


def not_mirrored(path: str) -> CompatError:
    """Return the error for a path that is not mirrored, although CoinGecko may have it."""
    message = f"The path {path[:100]} is not mirrored here; /docs lists what Coincast offers."
    return CompatError(404, "nested", message, code=404)


def upstream_error(status: int, body: bytes, retry_after: float | None) -> CompatError:
    """Return CoinGecko's own error response, with its status and body."""
    return CompatError(status, "plain", "CoinGecko refused", retry_after=retry_after, original=body)


def missing_parameter(parameter: str) -> CompatError:
    """Return the error for a missing required parameter."""
    return CompatError(422, "plain", f"Missing parameter {parameter}")


def invalid_value(message: str) -> CompatError:
    """Return the error for an invalid value."""
    return CompatError(422, "plain", message)


# The HTTP status of each kind of error that is written in the form `status`.
_STATUSES: dict[type[CoincastError], int] = {
    Exhausted: 429,
    Timeout: 504,
    Conflict: 409,
    NotReady: 503,
    Unavailable: 503,
}


def compat_error(error: CoincastError) -> CompatError:
    """Return the error of a service in CoinGecko's form; an unknown kind is a 500 without details."""
    message = error.message
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix)
    if isinstance(error, NotFound):
        return CompatError(404, "plain", "coin not found")
    if isinstance(error, InvalidInput):
        if message.startswith(_PLAN):
            return CompatError(401, "nested", message.removeprefix(_PLAN), code=10012)
        return invalid_value(message)
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return CompatError(status, "status", message, retry_after=error.retry_after_seconds)
    return CompatError(500, "status", "Internal Server Error")
