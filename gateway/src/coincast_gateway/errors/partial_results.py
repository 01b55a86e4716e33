"""Partial results: items of a list that cannot be served are listed beside those that can."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson

from coincast.common.v1.common_pb2 import Provenance
from coincast_chassis.errors import KINDS, CoincastError, InvalidInput
from coincast_gateway.errors.problems import NOT_FOUND, Problem, problem_from_error
from coincast_gateway.errors.validation import ProblemException
from coincast_gateway.rendering import RenderedResponse
from coincast_gateway.serialization import unix_seconds

# A retry of an item with one of these errors fails again.
_LASTING = frozenset({"not_found", "invalid_input"})
# How long a reply is cached that may soon be more complete.
SOON_SECONDS = 1.0
# Quotes inside JSON strings are escaped, so the pattern matches fields only.
_FROM_COINGECKO = re.compile(rb'"source":"(?:live|fresh|stale|archive)"')
# RFC 8574: the link to cite a resource by.
ATTRIBUTION = (b"link", b'<https://www.coingecko.com>; rel="cite-as"; title="Data provided by CoinGecko"')
_MAKESHIFT = (b'"stale":true', b'"degraded":true', b'"truncated":true')


def kept_seconds(body: bytes, seconds: float) -> float:
    """Return how long a reply may be cached: `seconds` if it is complete.

    A reply with an item that a retry may fix is not cached; one with a stale, degraded or truncated item is
    cached briefly. Quotes inside JSON strings are escaped, so the patterns match fields only.
    """
    if b'"errors":[{' in body and not all(each["kind"] in _LASTING for each in orjson.loads(body)["errors"]):
        return 0.0
    return min(seconds, SOON_SECONDS) if any(mark in body for mark in _MAKESHIFT) else seconds


def render_cacheable(body: bytes, seconds: float, as_of: float | None = None) -> RenderedResponse:
    """Return a response that is cached for as long as it is complete, with the attribution of its data.

    Args:
        body: The JSON body.
        seconds: How long a complete body may be served again.
        as_of: UNIX seconds of the moment that the data describes.
    """
    return RenderedResponse(
        body, as_of=as_of, fresh_seconds=kept_seconds(body, seconds), headers=attribution(body)
    )


def attribution(body: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the Link header that names CoinGecko as the source of a body's data.

    Data of the sandbox has no such source, and neither has a body without data.
    """
    return (ATTRIBUTION,) if _FROM_COINGECKO.search(body) else ()


def malformed(ids: list[str]) -> list[dict[str, Any]]:
    """Return an item error for each id that no coin can have."""
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
    """Return the problem of an item error, equal to that of the same error of a whole request."""
    error = KINDS.get(item["kind"], CoincastError)(
        item["message"],
        field=item["field"] or "ids",
        retry_after_seconds=item["retry_after_seconds"],
        suggestions=item["suggestions"],
    )
    problem = problem_from_error(error)
    if isinstance(error, InvalidInput) and error.field in ("id", "ids"):
        # A malformed id is reported like a coin that does not exist.
        return replace(problem, kind=NOT_FOUND)
    return problem


def refuse_if_all_failed(served: int, errors: list[dict[str, Any]]) -> None:
    """Raise the first error's problem, listing all errors, if no item could be served.

    Raises:
        ProblemException: No item was served and there are errors.
    """
    if served or not errors:
        return
    first = next((each for each in errors if each["kind"] != "invalid_input"), errors[0])
    raise ProblemException(replace(problem_from_item(first), errors=tuple(errors)))


def with_errors(body: bytes, name: str, bad: list[str]) -> bytes:
    """Return a body with the errors of malformed ids added, or raise the problem where no item was served."""
    if not bad and not body.startswith(b'{"%s":[]' % name.encode()):
        return body
    document = orjson.loads(body)
    document["errors"] = [*document["errors"], *malformed(bad)]
    refuse_if_all_failed(len(document[name]), document["errors"])
    return orjson.dumps(document)


def as_of(provenance: Provenance) -> float | None:
    """Return UNIX seconds of the moment that a reply describes."""
    return unix_seconds(provenance.as_of) if provenance.HasField("as_of") else None
