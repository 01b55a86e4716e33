"""Convert JSON documents to rows, and rows to CSV; `columnar` writes the same rows as Arrow and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

Rows = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]


def rows_of(name: str) -> Rows:
    """Return a function that converts the items of the list `name` to rows, without their nested values."""

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


def to_csv(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as CSV (RFC 4180) with a header line; absent values are empty."""
    found = list(rows)
    columns = list(dict.fromkeys(name for row in found for name in row))
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
