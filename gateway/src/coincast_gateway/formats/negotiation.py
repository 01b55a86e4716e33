"""Content negotiation: JSON, CSV, Arrow or Parquet, chosen by `format=` or the Accept header."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from enum import StrEnum
from functools import wraps
from typing import Any, TypeGuard

import orjson
from fastapi import Request
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute

from coincast_gateway.asgi_types import header
from coincast_gateway.errors.problems import NOT_ACCEPTABLE, reject
from coincast_gateway.formats.csv import Rows, empty_columns, is_described, to_csv
from coincast_gateway.formats.metadata import comment_line, document_metadata, error_lines, with_version
from coincast_gateway.rendering import RenderedResponse

Handler = Callable[..., Awaitable[Any]]
ROWS = "__csv_rows__"
JSON_HANDLER = "__json_handler__"


class Format(StrEnum):
    """A representation of a reply."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}
TABLES = (Format.CSV, Format.ARROW, Format.PARQUET)
# The media types that an Accept header may name.
ACCEPTED = {
    "application/json": Format.JSON,
    "application/*": Format.JSON,
    "application/problem+json": Format.JSON,
    "text/csv": Format.CSV,
    "text/*": Format.CSV,
    "application/vnd.apache.arrow.stream": Format.ARROW,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
}


def choose_format(
    accept: bytes, *, wanted: str = "", offered: Collection[Format], default: Format = Format.JSON
) -> Format:
    """Return the format of a reply: that of `format=`, otherwise the first offered one in Accept.

    Args:
        accept: The Accept header.
        wanted: The value of `format=`; empty if it was not given.
        offered: The formats that the route supports.
        default: The format for a client that accepts anything.

    Raises:
        ProblemException: 406 if Accept names none of the offered formats.
    """
    if wanted:
        return Format(wanted)
    if not accept or accept == b"*/*" or accept.startswith(MEDIA_TYPES[default].encode()):
        return default
    for name in (part.partition(";")[0].strip().lower() for part in accept.decode("latin-1").split(",")):
        if name == "*/*":
            return default
        found = ACCEPTED.get(name)
        if found is Format.JSON and name == "application/*" and default in offered:
            return default
        if found is not None and found in offered:
            return found
    can = [MEDIA_TYPES[each].partition(";")[0] for each in (default, *offered) if each in offered]
    names = list(dict.fromkeys(can))
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    raise reject(NOT_ACCEPTABLE, f"This can be served as {text}.", field="Accept", allowed=text)


def csv_rows(rows: Rows) -> Callable[[Handler], Handler]:
    """Declare that a handler also answers in CSV, Arrow and Parquet.

    Write it below `@cached()`, so that each format is cached separately.

    Args:
        rows: Returns the rows of the JSON document.
    """

    def decorate(handler: Handler) -> Handler:
        wants_request = "request" in inspect.signature(handler).parameters

        @wraps(handler)
        async def answer(*, request: Request, **values: Any) -> Any:
            given = {**values, "request": request} if wants_request else values
            response = await handler(**given)
            wanted = requested_format(header(request.scope, b"accept"), rows, values)
            return to_format(response, rows, wanted, response_model_of(request.scope.get("route")))

        setattr(answer, ROWS, rows)
        setattr(answer, JSON_HANDLER, handler)
        answer.__signature__ = with_request(handler)  # type: ignore[attr-defined]  # read by inspect
        return answer

    return decorate


def response_model_of(route: Any) -> Any:
    """Return the pydantic model of a route's reply; None where it has none."""
    model = getattr(route, "response_model", None)
    return model if hasattr(model, "model_fields") else None


def declared_rows(handler: Any) -> Rows | None:
    """Return how the rows of a handler's JSON are found; None where it has no CSV."""
    return getattr(handler, ROWS, None)


def json_handler(handler: Handler) -> Handler:
    """Return the handler that `@csv_rows` was put on, or the handler itself."""
    found: Handler = getattr(handler, JSON_HANDLER, handler)
    return found


def with_request(handler: Handler) -> inspect.Signature:
    """Return the signature with a request, so that FastAPI hands it over."""
    signature = inspect.signature(handler)
    if "request" in signature.parameters:
        return signature
    request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    return signature.replace(parameters=[*signature.parameters.values(), request])


def offered_formats(rows: Rows | None) -> tuple[Format, ...]:
    """Return the formats that a route supports: JSON, and tables if it declares rows."""
    return (Format.JSON, *TABLES) if rows is not None else (Format.JSON,)


def requested_format(accept: bytes, rows: Rows | None, values: Mapping[str, Any]) -> Format:
    """Return the format that a request wants, by `format` of its query model or by Accept.

    Args:
        accept: The Accept header.
        rows: The declared rows of the route, or None.
        values: The arguments of its handler.

    Raises:
        ProblemException: 406 if Accept names none of the route's formats.
    """
    wanted = getattr(values.get("query"), "format", None) or ""
    return choose_format(accept, wanted=wanted, offered=offered_formats(rows))


def to_format(
    response: RenderedResponse, rows: Rows | None, wanted: Format, response_model: Any = None
) -> RenderedResponse:
    """Return a JSON response in another format; a table without rows has the columns of its model."""
    if wanted is Format.JSON or rows is None:
        return response
    document = orjson.loads(response.body)
    found = list(rows(document))
    columns = empty_columns(rows, document, response_model) if not found and response_model else []
    if wanted is Format.CSV:
        body = to_csv(found, columns)
        if is_described(rows):
            described = with_version(document_metadata(document))
            body = comment_line(described) + body + error_lines(described)
    else:
        # Imported at the first such request, since pyarrow uses 40 MB of memory.
        columnar = importlib.import_module("coincast_gateway.formats.columnar")
        body = columnar.encode_rows(found, document_metadata(document), wanted, columns_if_empty=columns)
    return RenderedResponse(
        body,
        MEDIA_TYPES[wanted],
        status=response.status_code,
        as_of=response.as_of,
        fresh_seconds=response.fresh_seconds,
        row_count=len(found),
    )


def answers_json(route: Any) -> TypeGuard[APIRoute]:
    """Return whether a route answers in JSON, and so is subject to content negotiation."""
    return isinstance(route, APIRoute) and isinstance(route.response_class, DefaultPlaceholder)


async def acceptable(request: Request) -> None:
    """Reject requests whose Accept header the route cannot satisfy; a dependency of the whole application.

    Raises:
        ProblemException: 406 if Accept names none of the route's formats.
    """
    route = request.scope.get("route")
    # `format` takes precedence over Accept, and is validated with the other parameters.
    if answers_json(route) and "format" not in request.query_params:
        offered = offered_formats(declared_rows(route.endpoint))
        choose_format(header(request.scope, b"accept"), offered=offered)
