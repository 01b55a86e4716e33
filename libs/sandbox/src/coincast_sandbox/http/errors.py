"""The six forms of error bodies that CoinGecko was observed to send, and the exception for them."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from coincast_sandbox.simulation.candles import iso

_CDN_PAGE = (
    '<!DOCTYPE html>\n<html lang="en-US"><head><title>Access denied | api.coingecko.com used Cloudflare '
    "to restrict access</title></head><body><h1>Error 1020</h1><p>Ray ID: 8f0c0ffee</p></body></html>\n"
)
RATE_LIMIT_MESSAGE = (
    "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe "
    "to our API plans for higher rate limits."
)
MONTHLY_LIMIT_MESSAGE = (
    "You've reached your monthly API call credit limit. Please visit "
    "https://www.coingecko.com/en/api/pricing to upgrade your plan."
)


class ApiError(Exception):
    """An error reply.

    Args:
        status: HTTP status.
        form: The body's form, 1 to 6.
        message: CoinGecko's error message.
        code: CoinGecko's error code; None uses the HTTP status.
    """

    def __init__(self, status: int, form: int, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.form = form
        self.message = message
        self.code = status if code is None else code


def not_found() -> ApiError:
    """Return the error for an unknown coin."""
    return ApiError(404, 4, "coin not found")


def error_response(error: ApiError, now: float, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response that CoinGecko sends for an error; `now` is UNIX seconds."""
    body, media = error_body(error.form, error.code, error.message, now)
    return Response(body, error.status, headers=dict(headers or {}), media_type=media)


def error_body(form: int, code: int, message: str, now: float) -> tuple[bytes, str]:
    """Return one of the six bodies and its media type; `now` is UNIX seconds."""
    if form == 5:
        return b"Throttled\n", "text/plain"
    if form == 6:
        return _CDN_PAGE.encode(), "text/html"
    status = {"error_code": code, "error_message": message}
    documents: dict[int, object] = {
        1: {"status": status},
        2: {"error": {"status": {"timestamp": iso(now), **status}}},
        3: {"timestamp": iso(now), "error_code": code, "status": {"error_message": message}},
        4: {"error": message},
    }
    return orjson.dumps(documents[form]), "application/json"
