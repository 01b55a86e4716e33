"""Partial results: items of a list that cannot be served are listed beside those that can."""

from __future__ import annotations

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
_MAKESHIFT = (b'"stale":true', b'"degraded":true', b'"truncated":true')


def kept_seconds(body: bytes, seconds: float) -> float:
    """How long a ready reply may be served again: `seconds` where it says all that there is to say.

    An item that a retry may mend keeps it out of every cache; one that is stale, degraded or cut short is
    looked at again after a moment. Quotes inside JSON strings are escaped, so the marks mean only fields.
    """
    if b'"errors":[{' in body and not all(each["kind"] in _LASTING for each in orjson.loads(body)["errors"]):
        return 0.0
    return min(seconds, SOON_SECONDS) if any(mark in body for mark in _MAKESHIFT) else seconds


def render_cacheable(body: bytes, seconds: float, as_of: float | None = None) -> RenderedResponse:
    """The ready reply, to be served again for as long as it may be; `as_of` in UNIX seconds."""
    return RenderedResponse(body, as_of=as_of, fresh_seconds=kept_seconds(body, seconds))


def malformed(ids: list[str]) -> list[dict[str, Any]]:
    """An item error for each id that no coin can have."""
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
    """Ready bytes as they are; where something failed, with malformed ids told, or refused as a whole."""
    if not bad and not body.startswith(b'{"%s":[]' % name.encode()):
        return body
    document = orjson.loads(body)
    document["errors"] = [*document["errors"], *malformed(bad)]
    refuse_if_all_failed(len(document[name]), document["errors"])
    return orjson.dumps(document)


def as_of(provenance: Provenance) -> float | None:
    """UNIX seconds of the moment that a reply describes."""
    return unix_seconds(provenance.as_of) if provenance.HasField("as_of") else None
