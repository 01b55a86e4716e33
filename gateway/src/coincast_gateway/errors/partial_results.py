"""Partial results: items of a list that cannot be served are listed beside those that can."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson

from coincast.common.v1.common_pb2 import Provenance
from coincast_chassis.errors import KINDS, CoincastError, InvalidInput
from coincast_gateway.errors.problems import NOT_FOUND, Problem, ProblemException, problem_from_error
from coincast_gateway.rendering import RenderedResponse, unix_seconds

# Kinds of item errors that a retry does not fix.
_LASTING = frozenset({"not_found", "invalid_input"})
# How long a reply is cached if a later one may be better: with stale, degraded or truncated items, or with a
# forecast that could not start from the newest hour.
SOON_SECONDS = 1.0
# In JSON strings quotes are escaped, so the pattern only matches fields.
_FROM_COINGECKO = re.compile(rb'"source":"(?:live|fresh|stale|archive)"')
# The link relation for citing a resource (RFC 8574).
ATTRIBUTION = (b"link", b'<https://www.coingecko.com>; rel="cite-as"; title="Data provided by CoinGecko"')
_PROVISIONAL = (b'"stale":true', b'"degraded":true', b'"truncated":true', b'"as_of_reason":"')


def kept_seconds(body: bytes, seconds: float) -> float:
    """Return how long a reply may be cached.

    A reply with an item error that a retry may fix is not cached. A reply with a stale, degraded or truncated
    item, or with a reason why it does not start from the newest hour, is cached for `SOON_SECONDS` only: the
    hours may be read a moment later. In JSON strings quotes are escaped, so the patterns only match fields.

    Args:
        body: The JSON body.
        seconds: How long a complete reply may be cached.
    """
    if b'"errors":[{' in body and not all(each["kind"] in _LASTING for each in orjson.loads(body)["errors"]):
        return 0.0
    return min(seconds, SOON_SECONDS) if any(mark in body for mark in _PROVISIONAL) else seconds


def render_cacheable(body: bytes, seconds: float, as_of: float | None = None) -> RenderedResponse:
    """Return a response with the attribution of its data, and cached according to its completeness.

    Args:
        body: The JSON body.
        seconds: How long a complete reply may be cached; see `kept_seconds`.
        as_of: UNIX seconds of the moment that the data describes.
    """
    return RenderedResponse(
        body, as_of=as_of, fresh_seconds=kept_seconds(body, seconds), headers=attribution(body)
    )


def attribution(body: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the Link header that names CoinGecko as the source of a body's data.

    It is empty for data of the sandbox and for a body without data.
    """
    return (ATTRIBUTION,) if _FROM_COINGECKO.search(body) else ()


def malformed_id_errors(ids: list[str]) -> list[dict[str, Any]]:
    """Return an item error for each malformed id."""
    message = "Not a coin id: lower-case letters, digits, dots, hyphens and underscores, at most 128 of them."
    return [
        {
            "id": each[:128],
            "kind": "invalid_input",
            "message": message,
            "field": "ids",
            "suggestions": [],
            "retry_after_seconds": None,
        }
        for each in ids
    ]


def problem_from_item(item: dict[str, Any]) -> Problem:
    """Return the problem of an item error: the same as if the whole request had failed with this error."""
    error = KINDS.get(item["kind"], CoincastError)(
        item["message"],
        field=item["field"] or "ids",
        retry_after_seconds=item["retry_after_seconds"],
        suggestions=item["suggestions"],
    )
    problem = problem_from_error(error)
    if isinstance(error, InvalidInput) and error.field in ("id", "ids"):
        # A malformed id is answered with 404, as a coin that does not exist.
        return replace(problem, kind=NOT_FOUND)
    return problem


def refuse_if_all_failed(served: int, errors: list[dict[str, Any]]) -> None:
    """Raise a problem if no item could be served.

    Args:
        served: The number of items that were served.
        errors: The errors of the other items.

    Raises:
        ProblemException: No item was served and there are errors. It is the problem of the first error that
            is not about a malformed id, with the list of all errors.
    """
    if served or not errors:
        return
    first = next((each for each in errors if each["kind"] != "invalid_input"), errors[0])
    raise ProblemException(replace(problem_from_item(first), errors=tuple(errors)))


def with_errors(body: bytes, name: str, bad: list[str]) -> bytes:
    """Return a body with the errors of malformed ids added.

    Args:
        body: A JSON object with a list of items and a list `errors`.
        name: The name of the list of items.
        bad: The malformed ids of the request.

    Raises:
        ProblemException: No item was served.
    """
    if not bad and not body.startswith(b'{"%s":[]' % name.encode()):
        return body
    document = orjson.loads(body)
    document["errors"] = [*document["errors"], *malformed_id_errors(bad)]
    refuse_if_all_failed(len(document[name]), document["errors"])
    return orjson.dumps(document)


def as_of(provenance: Provenance) -> float | None:
    """Return the UNIX seconds of `as_of` in a provenance, or None if it is not set."""
    return unix_seconds(provenance.as_of) if provenance.HasField("as_of") else None
