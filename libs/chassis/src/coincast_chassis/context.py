"""Context of a request: its id, its trace id and its deadline."""

from __future__ import annotations

import contextvars
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("coincast_request_id", default="")
_trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("coincast_trace_id", default="")
_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("coincast_deadline", default=None)

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")


def request_id() -> str:
    """Return the id of the request being served; empty outside of one."""
    return _request_id.get()


def trace_id() -> str:
    """Return the trace id, 32 hex digits that all parts of one request share; empty outside of one."""
    return _trace_id.get()


def remaining_seconds() -> float | None:
    """Return the seconds until the request's deadline (negative after it); None if it has none."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def new_request_id() -> str:
    """Return a fresh id, 16 hex digits."""
    return secrets.token_hex(8)


def new_trace_id() -> str:
    """Return a fresh W3C trace id, 32 hex digits."""
    return secrets.token_hex(16)


def safe_id(text: str | None) -> str:
    """Return an id that a client sent; empty if it is too long or could forge a log line or a header."""
    return text if text and len(text) <= 128 and _SAFE.issuperset(text) else ""


def parse_traceparent(header: str | None) -> str:
    """Return the trace id of a W3C `traceparent` header; empty if the header is absent or malformed."""
    parts = (header or "").split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or set(parts[1]) <= {"0"}:
        return ""
    return parts[1] if set(parts[1]) <= set("0123456789abcdef") else ""


@contextmanager
def bind(
    *, request_id: str | None = None, trace_id: str | None = None, deadline_seconds: float | None = None
) -> Iterator[None]:
    """Set the given values of the request context for the block.

    Args:
        request_id: Id of the request.
        trace_id: Id of its trace.
        deadline_seconds: Seconds left of the deadline; an earlier one of the outer context remains in force.
    """
    tokens: list[tuple[contextvars.ContextVar[str], contextvars.Token[str]]] = []
    if request_id is not None:
        tokens.append((_request_id, _request_id.set(request_id)))
    if trace_id is not None:
        tokens.append((_trace_id, _trace_id.set(trace_id)))
    deadline_token = None
    if deadline_seconds is not None:
        deadline, outer = time.monotonic() + deadline_seconds, _deadline.get()
        deadline_token = _deadline.set(deadline if outer is None else min(deadline, outer))
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)
        if deadline_token is not None:
            _deadline.reset(deadline_token)


def detached() -> contextvars.Context:
    """Return a copy of the context without its deadline, for work that outlives its caller."""
    context = contextvars.copy_context()
    context.run(_deadline.set, None)
    return context
