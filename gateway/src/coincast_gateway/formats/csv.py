"""CSV from the JSON of a list, for those who ask for it in Accept."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from coincast_gateway.errors.problems import NOT_ACCEPTABLE
from coincast_gateway.errors.validation import refuse
from coincast_gateway.rendering import JSON, RenderedResponse

CSV = "text/csv; charset=utf-8"
Table = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]


def rows_of(name: str) -> Table:
    """The rows are the items of one list, without what is nested in them."""

    def rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return [_flat(row) for row in document[name]]

    return rows


def candle_rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Candles, each with the coin and the currency it belongs to."""
    head = {"id": document["id"], "vs_currency": document["vs_currency"]}
    return [{**head, **row} for row in document["candles"]]


def forecast_rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A row a coin and horizon; intervals become columns such as lower_80 and upper_80."""
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
            for level, bounds in point["intervals"].items():
                row[f"lower_{level}"], row[f"upper_{level}"] = bounds["lower"], bounds["upper"]
            row.update({f"quantile_{p}": price for p, price in point["quantiles"].items()})
            yield row


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, dict | list)}


def to_csv(reply: RenderedResponse, table: Table) -> RenderedResponse:
    """The same reply as CSV (RFC 4180): a header line, absent figures empty."""
    rows = list(table(orjson.loads(reply.body)))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows([{name: _cell(value) for name, value in row.items()} for row in rows])
    return RenderedResponse(text.getvalue().encode(), CSV, reply.status, reply.as_of, reply.fresh_seconds)


def _cell(value: Any) -> Any:
    # A cell that begins like a formula is one to a spreadsheet.
    if isinstance(value, str) and value[:1] in "=+-@\t\r" and value:
        return "'" + value
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def wants_csv(accept: bytes, table: Table | None) -> bool:
    """Whether an Accept header asks for CSV rather than JSON. Refuses (406) what can be neither."""
    if not accept or accept == b"*/*" or accept.startswith(JSON.encode()):
        return False
    offered = {"application/json", "application/*", "application/problem+json", "*/*"}
    for name in (part.partition(";")[0].strip().lower() for part in accept.decode("latin-1").split(",")):
        if table is not None and name in ("text/csv", "text/*"):
            return True
        if name in offered:
            return False
    can = "application/json or text/csv" if table is not None else "application/json"
    raise refuse(NOT_ACCEPTABLE, f"This can be served as {can}.", field="Accept", allowed=can)
