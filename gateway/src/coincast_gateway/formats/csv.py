"""Convert JSON documents to rows, and rows to CSV; `columnar` writes the same rows as Arrow and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args, get_origin

# The attribute that names the list of a document whose items are the rows.
LIST_NAME = "__list_name__"
# The attribute of rows whose CSV begins with the metadata.
DESCRIBED = "__described__"
Rows = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]


def rows_of(name: str) -> Rows:
    """Return a function that converts the items of the list `name` to rows, without their nested values."""

    def rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return [_flat(row) for row in document[name]]

    setattr(rows, LIST_NAME, name)
    return rows


def described(rows: Rows) -> Rows:
    """Let the CSV of rows begin with a comment line: the metadata that other tables have in their schema."""
    setattr(rows, DESCRIBED, True)
    return rows


def is_described(rows: Rows) -> bool:
    """Return whether the CSV of rows begins with the metadata."""
    return getattr(rows, DESCRIBED, False)


@described
def ledger_rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Return logged forecasts as rows; intervals become columns such as lower_80 and upper_80."""
    for entry in document["forecasts"]:
        bounds: dict[str, Any] = {}
        for interval in entry["intervals"]:
            level = f"{interval['level_percent']:g}"
            bounds |= {f"lower_{level}": interval["lower"], f"upper_{level}": interval["upper"]}
        yield _flat(entry) | bounds


@described
def accuracy_rows(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Return a row for each record; `table` tells live, by_origin_hour, evaluated and risk apart."""
    for table in ("live", "by_origin_hour"):
        for entry in document[table]:
            yield {"table": table, **_flat(entry), **_flat(entry["horizon"] or {})}
    for entry in document["evaluated"]:
        for horizon in (entry["record"] or {}).get("horizons", ()):
            yield {"table": "evaluated", **_flat(entry), **_flat(horizon)}
    for entry in document["risk"]:
        yield {"table": "risk", "model": entry["served_by"], **_flat(entry)}


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


def empty_columns(rows: Rows, document: dict[str, Any], response_model: Any) -> list[str]:
    """Return the columns of a table without rows, whose header says what would be in it.

    Args:
        rows: How the rows of the document are found.
        document: The document.
        response_model: Its pydantic model, whose list has the fields of a row.
    """
    name = getattr(rows, LIST_NAME, "")
    if rows is candle_rows:
        moment = "time" if document.get("interval") == "1h" else "date"
        return ["id", "vs_currency", moment, "open", "high", "low", "close", "volume"]
    if rows is accuracy_rows:
        horizon = response_model.model_fields["risk"].annotation
        return ["table", "model", "version", *_scalar_fields(_item_of(horizon))]
    item = _item_of(response_model.model_fields["forecasts" if rows is ledger_rows else name].annotation)
    bounds = ["lower_80", "upper_80", "lower_95", "upper_95"] if rows is ledger_rows else []
    return [*_scalar_fields(item), *bounds]


def _item_of(annotation: Any) -> Any:
    """Return the model of the items of a list."""
    return next(iter(get_args(annotation)), None)


def _scalar_fields(model: Any) -> list[str]:
    """Return the fields of a model that hold neither a list nor a model."""
    found = []
    for name, info in getattr(model, "model_fields", {}).items():
        kinds = [info.annotation, *get_args(info.annotation)]
        if not any(get_origin(kind) in (list, dict) or hasattr(kind, "model_fields") for kind in kinds):
            found.append(name)
    return found


def to_csv(rows: Iterable[dict[str, Any]], columns_if_empty: Sequence[str] = ()) -> bytes:
    """Return rows as CSV (RFC 4180) with a header line; absent values are empty."""
    found = list(rows)
    columns = list(dict.fromkeys(name for row in found for name in row)) or list(columns_if_empty)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows([{name: _cell(value) for name, value in row.items()} for row in found])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    # A quote keeps a spreadsheet from evaluating a text that begins like a formula.
    if isinstance(value, str) and value[:1] in "=+-@\t\r" and value:
        return "'" + value
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value
