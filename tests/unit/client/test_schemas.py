"""The client's schemas are those of the gateway's OpenAPI."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from coincast_client import schemas
from coincast_client.base import Reply
from deploy import client_schemas

POINT: dict[str, Any] = {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}


@pytest.mark.slow
def test_the_schemas_are_current():
    assert client_schemas.main(["--check"]) == 0, "run: python deploy/client_schemas.py"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (POINT, {**POINT, "properties": {**POINT["properties"], "hours": {"type": "integer"}}}),
        (POINT, {**POINT, "properties": {"price": {"type": "string"}}}),
        (POINT, {**POINT, "required": []}),
    ],
    ids=["a new field", "another type", "no longer required"],
)
def test_check_reports_schemas_that_are_out_of_date(
    before: dict[str, Any],
    after: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    document: dict[str, Any] = {"components": {"schemas": {"Point": before}}}

    async def fetch_openapi() -> dict[str, Any]:
        return document

    monkeypatch.setattr(client_schemas, "TARGET", tmp_path / "schemas.py")
    monkeypatch.setattr(client_schemas, "fetch_openapi", fetch_openapi)
    assert client_schemas.main([]) == 0
    document["components"]["schemas"]["Point"] = after
    assert client_schemas.main(["--check"]) == 1
    assert "run: python deploy/client_schemas.py" in capsys.readouterr().err


DAY_OR_MOMENT = re.compile(r"(^|_)(at|date|dates)$|^(as_of|time)$")
MODELS = [each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, Reply)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_days_and_moments_are_days_and_moments(model: type[Reply]) -> None:
    for name, field in model.model_fields.items():
        if DAY_OR_MOMENT.search(name):
            kinds = str(field.annotation) + str(field.metadata)
            assert "str" not in kinds.replace("strict", ""), f"{model.__name__}.{name}: {kinds}"


def test_day_that_the_gateway_does_not_know_is_none() -> None:
    days = {"test_from_date": "", "test_to_date": "2025-08-31"}
    record: dict[str, Any] = {"measured_at": None, "test_coins": [], "horizons": [], **days}
    found = schemas.Record.model_validate(record)
    assert (found.test_from_date, found.test_to_date) == (None, date(2025, 8, 31))


def history_of(candles: list[dict[str, Any]], interval: str) -> schemas.History:
    figures = {"open": 1.0, "high": 2.0, "low": 1.0, "close": 1.5, "volume": None, "market_cap": None}
    return schemas.History.model_validate(
        {
            "id": "bitcoin", "vs_currency": "usd", "as_of": "2025-09-01T00:00:00Z", "age_seconds": 1.0,
            "source": "archive", "stale": False, "reason": None, "truncated": False, "truncated_reason": None,
            "missing_dates": ["2025-08-30"], "completeness": "whole", "partial_reason": None,
            "retry_after_seconds": None, "quality_notes": [], "in_doubt": False, "interval": interval,
            "candles": [{**figures, **candle} for candle in candles],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("candle", "interval", "column", "pandas_kind", "polars_kind"),
    [
        ({"date": "2025-08-31"}, "1d", "date", "datetime64", "Date"),
        ({"time": "2025-08-31T14:00:00Z"}, "1h", "time", "datetime64", "Datetime"),
    ],
)
def test_tables_have_days_and_moments(
    candle: dict[str, Any], interval: str, column: str, pandas_kind: str, polars_kind: str
) -> None:
    found = history_of([candle], interval)
    assert found.missing_dates == [date(2025, 8, 30)]
    assert str(found.to_pandas()[column].dtype).startswith(pandas_kind)
    assert str(found.to_polars()[column].dtype).startswith(polars_kind)
    assert next(iter(candle.values())) in found._repr_html_()
    assert next(iter(candle.values())) in found.model_dump_json()
