"""Problem documents (RFC 9457), the exception that carries one, and the table that maps errors to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import orjson

from coincast_chassis import context
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
from coincast_gateway.serialization import in_rest_names, rest_name

PROBLEM_JSON = "application/problem+json"
# Clients obey a Retry-After of at most a minute, so a longer one is never sent.
MAX_RETRY_AFTER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: the last part of its `type`, its HTTP status and title, and its meaning."""

    name: str
    status: int
    title: str
    meaning: str


INVALID = Kind(
    "invalid-request",
    422,
    "The request does not validate",
    "A parameter is missing, unknown or out of range.",
)
REFUSED = Kind("invalid-input", 400, "The request is wrong", "A service behind the gateway refused a value.")
NOT_FOUND = Kind("not-found", 404, "Not found", "No such path, coin, model, version or job.")
METHOD = Kind(
    "method-not-allowed", 405, "Method not allowed", "The path exists; the method does not. See Allow."
)
NOT_ACCEPTABLE = Kind(
    "not-acceptable", 406, "Not acceptable", "None of the media types in Accept can be served."
)
CONFLICT = Kind("conflict", 409, "Conflict", "The state has changed since the caller read it.")
NOT_READY = Kind(
    "not-ready",
    409,
    "Not ready",
    "The request needs something that does not exist yet, as a trained model or a fetched history.",
)
STARTING = Kind(
    "starting", 503, "Starting", "The service that the request needs is still starting; retry after a moment."
)
UNAUTHORIZED = Kind(
    "unauthorized", 401, "A key is needed", "No API key was given, or it is unknown or revoked."
)
FORBIDDEN = Kind("forbidden", 403, "Not allowed", "The API key lacks the scope that the request needs.")
TOO_LARGE = Kind("too-large", 413, "Too large", "The body is larger than the gateway reads.")
URI_TOO_LONG = Kind("uri-too-long", 414, "URI too long", "Path and query are longer than the gateway reads.")
UNSUPPORTED = Kind(
    "unsupported-media-type", 415, "Unsupported media type", "The body must be application/json."
)
SLOW_BODY = Kind("request-timeout", 408, "Request timeout", "The body did not arrive in time.")
EXHAUSTED = Kind(
    "rate-limited", 429, "Too many requests", "A limit is used up. Retry-After says how long to wait."
)
UNAVAILABLE = Kind(
    "unavailable", 503, "Unavailable", "A service behind the gateway does not answer; a retry may help."
)
OVERLOADED = Kind(
    "overloaded", 503, "Overloaded", "The gateway is answering too many requests; retry after a moment."
)
TIMEOUT = Kind("timeout", 504, "Timeout", "A service behind the gateway did not answer in time.")
INTERNAL = Kind(
    "internal", 500, "Internal error", "The gateway failed. The logs have the cause by request id."
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in list(globals().values()) if isinstance(kind, Kind)}

OF_ERROR: dict[type[CoincastError], Kind] = {
    InvalidInput: REFUSED,
    NotFound: NOT_FOUND,
    Conflict: CONFLICT,
    NotReady: NOT_READY,
    Exhausted: EXHAUSTED,
    Unavailable: UNAVAILABLE,
    Timeout: TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A refused or failed request: its kind, a sentence, and further fields that help to fix it."""

    kind: Kind
    detail: str
    field: str = ""
    retry_after_seconds: float | None = None
    suggestions: tuple[str, ...] = ()
    allowed: str = ""
    errors: tuple[dict[str, Any], ...] = ()

    @property
    def retry_after(self) -> int | None:
        """Whole seconds for Retry-After, 1 to 60; None for a status that a retry does not change."""
        if self.kind.status not in (429, 503):
            return None
        wanted = self.retry_after_seconds if self.retry_after_seconds is not None else 1.0
        return max(1, min(MAX_RETRY_AFTER_SECONDS, math.ceil(wanted))) if math.isfinite(wanted) else 60

    def body(self, instance: str) -> bytes:
        """Encode the problem as JSON; `instance` is the requested path."""
        document: dict[str, Any] = {
            "type": f"/problems/{self.kind.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": context.request_id(),
        }
        extras: dict[str, Any] = {
            "field": self.field,
            "allowed": self.allowed,
            "suggestions": list(self.suggestions),
            "retry_after_seconds": self.retry_after,
            "errors": list(self.errors),
        }
        document.update({name: value for name, value in extras.items() if value})
        return orjson.dumps(document)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the Retry-After header, if the problem has one."""
        after = self.retry_after
        return [] if after is None else [(b"retry-after", str(after).encode())]


class ProblemException(Exception):  # noqa: N818 - it is an answer to the client, not a failure
    """Raised to answer a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def reject(kind: Kind, detail: str, **more: Any) -> ProblemException:
    """Return an exception with a problem of a kind; `more` are further fields of the problem."""
    return ProblemException(Problem(kind, detail, **more))


def problem_from_error(error: CoincastError) -> Problem:
    """Map a CoincastError to a problem; an unmapped error becomes a generic 500 without details."""
    for cls in type(error).__mro__:
        if cls in OF_ERROR:
            waits = cls is NotReady and error.retry_after_seconds is not None
            kind = STARTING if waits else OF_ERROR[cls]
            return Problem(
                kind,
                in_rest_names(error.message),
                rest_name(error.field),
                error.retry_after_seconds,
                tuple(error.suggestions),
            )
    return internal()


def internal() -> Problem:
    """Return the problem of an internal failure; the logs have its cause by request id."""
    return Problem(INTERNAL, "An internal error occurred. It was logged with this request id.")


# The problems that every endpoint can answer with, and those of endpoints that call a service.
ALWAYS: tuple[Kind, ...] = (INVALID, UNAUTHORIZED, FORBIDDEN, NOT_ACCEPTABLE, EXHAUSTED, INTERNAL, OVERLOADED)
BEHIND: tuple[Kind, ...] = (*ALWAYS, REFUSED, UNAVAILABLE, TIMEOUT)
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/ProblemDocument"}
RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds, 1 to 60.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 60},
    }
}


def problem_responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a path operation that can answer with these kinds of problem."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        known = found.setdefault(
            kind.status, {"description": "", "content": {PROBLEM_JSON: {"schema": PROBLEM_SCHEMA}}}
        )
        known["description"] = " ".join(filter(None, (known["description"], f"{kind.title}: {kind.meaning}")))
        if kind.status in (429, 503):
            known["headers"] = RETRY_AFTER
    return found


def service_responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a path operation that calls a service: the usual kinds and the given ones."""
    return problem_responses(*BEHIND, *kinds)
