"""Tables: other representations of lists, as CSV here and as Arrow and Parquet in `columnar`."""

from __future__ import annotations

import csv
import importlib
import inspect
import io
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeGuard

import orjson
from fastapi import Request
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute

from coincast_gateway.asgi_types import header
from coincast_gateway.cache.cached_response import RenderedResponse
from coincast_gateway.formats.negotiation import MEDIA_TYPES, TABLES, Format, choose_format

CSV = MEDIA_TYPES[Format.CSV]
Rows = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]
Handler = Callable[..., Awaitable[Any]]
ROWS = "__csv_rows__"
JSON_HANDLER = "__json_handler__"


def rows_of(name: str) -> Rows:
    """Return how the items of one list become rows; nested values are left out."""

    def rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return [_flat(row) for row in document[name]]

    return rows


def candle_rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Return candles as rows, each with its coin and currency."""
    head = {"id": document["id"], "vs_currency": document["vs_currency"]}
    return [{**head, **row} for row in document["candles"]]


def forecast_rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Return a row for each coin and horizon; intervals become columns such as lower_80 and upper_80."""
    named = (
        "id",
        "vs_currency",
        "as_of",
        "last_price",
        "model",
        "version",
        "served_by",
        "degraded",
        "source",
    )
    for forecast in document["forecasts"]:
        head = {name: forecast[name] for name in named}
        for point in forecast["points"]:
            row = {
                **head,
                **{name: point[name] for name in ("date", "horizon_days", "price", "probability_of_rise")},
            }
            if point["horizon_hours"]:
                row |= {"horizon_hours": point["horizon_hours"], "closes_at": point["closes_at"]}
            for level, bounds in point["intervals"].items():
                row[f"lower_{level}"], row[f"upper_{level}"] = bounds["lower"], bounds["upper"]
            row.update({f"quantile_{p}": price for p, price in point["quantiles"].items()})
            yield row


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, dict | list)}


def csv_rows(rows: Rows) -> Callable[[Handler], Handler]:
    """Declare that a handler also answers in CSV, Arrow and Parquet; `rows` finds the rows in the JSON.

    Stands below `@cached()` where both are declared, so that each format is cached by itself.
    """

    def decorate(handler: Handler) -> Handler:
        wants_request = "request" in inspect.signature(handler).parameters

        @wraps(handler)
        async def answer(*, request: Request, **values: Any) -> Any:
            given = {**values, "request": request} if wants_request else values
            response = await handler(**given)
            return to_format(response, rows, requested_format(header(request.scope, b"accept"), rows, values))

        setattr(answer, ROWS, rows)
        setattr(answer, JSON_HANDLER, handler)
        answer.__signature__ = with_request(handler)  # type: ignore[attr-defined]  # read by inspect
        return answer

    return decorate


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


def to_csv(response: RenderedResponse, rows: Rows) -> RenderedResponse:
    """Return the same response as CSV (RFC 4180): a header line, absent figures empty."""
    found = list(rows(orjson.loads(response.body)))
    columns = list(dict.fromkeys(name for row in found for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows([{name: _cell(value) for name, value in row.items()} for row in found])
    return RenderedResponse(
        text.getvalue().encode(),
        CSV,
        status=response.status_code,
        as_of=response.as_of,
        fresh_seconds=response.fresh_seconds,
    )


def _cell(value: Any) -> Any:
    # A spreadsheet evaluates a cell that begins like a formula.
    if isinstance(value, str) and value[:1] in "=+-@\t\r" and value:
        return "'" + value
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def offered_formats(rows: Rows | None) -> tuple[Format, ...]:
    """Return what a route can answer with: JSON, and tables where its rows are declared."""
    return (Format.JSON, *TABLES) if rows is not None else (Format.JSON,)


def requested_format(accept: bytes, rows: Rows | None, values: Mapping[str, Any]) -> Format:
    """Return the format that a request wants: by the `format` of its query, else by Accept.

    Raises:
        ProblemException: 406 where it accepts nothing that can be served.
    """
    wanted = getattr(values.get("query"), "format", None) or ""
    return choose_format(accept, wanted=wanted, offered=offered_formats(rows))


def to_format(response: RenderedResponse, rows: Rows | None, wanted: Format) -> RenderedResponse:
    """Return a JSON response in another format."""
    if wanted is Format.JSON or rows is None:
        return response
    if wanted is Format.CSV:
        return to_csv(response, rows)
    document = orjson.loads(response.body)
    # Imported with the first such request: pyarrow uses forty megabytes.
    columnar = importlib.import_module("coincast_gateway.formats.columnar")
    body = columnar.encode_rows(list(rows(document)), columnar.document_metadata(document), wanted)
    return RenderedResponse(
        body,
        MEDIA_TYPES[wanted],
        status=response.status_code,
        as_of=response.as_of,
        fresh_seconds=response.fresh_seconds,
    )


def answers_json(route: Any) -> TypeGuard[APIRoute]:
    """Return whether a route answers in JSON, and so is subject to content negotiation."""
    return isinstance(route, APIRoute) and isinstance(route.response_class, DefaultPlaceholder)


async def acceptable(request: Request) -> None:
    """Reject requests whose Accept header the route cannot satisfy; a dependency of the whole application."""
    route = request.scope.get("route")
    # `format` replaces Accept, and is validated with the other parameters.
    if answers_json(route) and "format" not in request.query_params:
        offered = offered_formats(declared_rows(route.endpoint))
        choose_format(header(request.scope, b"accept"), offered=offered)
