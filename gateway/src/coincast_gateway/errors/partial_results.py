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
from coincast_gateway.serialization.proto import unix_seconds

# An item that failed so fails again, however often it is asked for.
_LASTING = frozenset({"not_found", "invalid_input"})
# How long an answer is kept that may be better in a moment.
SOON_SECONDS = 1.0
# Quotes inside JSON strings are escaped, so the pattern matches fields only.
_FROM_COINGECKO = re.compile(rb'"source":"(?:live|fresh|stale|archive)"')
# RFC 8574: the link to cite a resource by.
ATTRIBUTION = (b"link", b'<https://www.coingecko.com>; rel="cite-as"; title="Data provided by CoinGecko"')
_MAKESHIFT = (b'"stale":true', b'"degraded":true', b'"truncated":true')


def kept_seconds(body: bytes, seconds: float) -> float:
    """Return how long a reply may be served again: `seconds` where it is complete.

    An item that a retry may mend keeps it out of every cache; one that is stale, degraded or truncated is
    soon made again. Quotes inside JSON strings are escaped, so the marks match fields only.
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
    """Return the problem of an item error: the one that the same error has as a whole request's."""
    error = KINDS.get(item["kind"], CoincastError)(
        item["message"],
        field=item["field"] or "ids",
        retry_after_seconds=item["retry_after_seconds"],
        suggestions=item["suggestions"],
    )
    problem = problem_from_error(error)
    if isinstance(error, InvalidInput) and error.field in ("id", "ids"):
        # What cannot be a coin is a coin that does not exist.
        return replace(problem, kind=NOT_FOUND)
    return problem


def refuse_if_all_failed(served: int, errors: list[dict[str, Any]]) -> None:
    """Raise the problem of the first error where no item could be served; it lists all of them.

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
