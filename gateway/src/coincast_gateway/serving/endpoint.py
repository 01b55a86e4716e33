"""An endpoint: what may be asked, who answers, and what the answer looks like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from coincast_gateway.errors.problems import (
    EXHAUSTED,
    FORBIDDEN,
    INTERNAL,
    INVALID,
    NOT_ACCEPTABLE,
    OVERLOADED,
    REFUSED,
    TIMEOUT,
    UNAUTHORIZED,
    UNAVAILABLE,
    Kind,
)
from coincast_gateway.formats.csv import Table
from coincast_gateway.formats.sse import Events
from coincast_gateway.rendering import RenderedResponse
from coincast_gateway.schemas.fields import Query

AccessScope = Literal["none", "read", "train", "admin"]
# What every endpoint can answer with, and what those with a service behind them can.
ALWAYS: tuple[Kind, ...] = (INVALID, UNAUTHORIZED, FORBIDDEN, NOT_ACCEPTABLE, EXHAUSTED, INTERNAL, OVERLOADED)
BEHIND: tuple[Kind, ...] = (*ALWAYS, REFUSED, UNAVAILABLE, TIMEOUT)


@dataclass(frozen=True, slots=True)
class Call:
    """What an answer may depend on beside the query."""

    # Which side of an A/B test the caller is on; empty while there is none.
    client_key: str = ""
    # Who asks, for the audit: an API key's name, or `anonymous`.
    requested_by: str = "anonymous"
    # The validated body, where the endpoint takes one.
    body: Any = None
    # The Idempotency-Key header.
    idempotency_key: str = ""


async def unanswered(query: Any, call: Call) -> RenderedResponse:
    """The answer of an endpoint that has events instead."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One path and method. `query` holds path and query parameters alike."""

    path: str
    name: str
    summary: str
    tag: str
    query: type[Query]
    answer: Callable[[Any, Call], Awaitable[RenderedResponse]] = unanswered
    # Answers with server-sent events instead of one reply.
    events: Callable[[Any, Call], Events] | None = None
    reply: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    method: str = "GET"
    status: int = 200
    description: str = ""
    # How rows are found in the JSON, where the endpoint can answer in CSV.
    table: Table | None = None
    # May be kept and shared between callers.
    kept: bool = True
    # Kept in Redis as well, for other processes.
    shared: bool = False
    # Differs from caller to caller while an A/B test runs.
    by_caller: bool = False
    scope: AccessScope = "read"
    problems: tuple[Kind, ...] = BEHIND
    media_type: str = "application/json"
    # OpenAPI links: endpoints that a value of the reply leads to, by name; (parameter, where it stands).
    leads_to: tuple[tuple[str, str, str], ...] = ()
