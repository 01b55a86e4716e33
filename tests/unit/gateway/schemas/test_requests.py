"""What OpenAPI states of a request is what its validation accepts."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from coincast_gateway.schemas.requests.forecasts import ForecastsQuery, LedgerQuery
from coincast_gateway.schemas.requests.risk import HoldingBody, TouchQuery


@pytest.mark.parametrize(
    ("level", "valid"),
    [
        ("120000", True), ("0.0001", True), ("-5%", True), ("+5%", True), ("5%,-5.5%,60000", True),
        ("0", False), ("-1", False), ("-100%", False), ("", False), ("1,", False), ("a", False),
    ],
)  # fmt: skip
def test_touch_levels_follow_their_pattern(level: str, valid: bool) -> None:
    schema = TouchQuery.model_json_schema()["properties"]["level"]
    assert jsonschema.Draft202012Validator(schema).is_valid(level) is valid
    assert accepts(TouchQuery, {"ids": "bitcoin", "level": level}) is valid


@pytest.mark.parametrize(
    ("field", "text", "valid"),
    [
        ("levels", "1", True), ("levels", "80,95", True), ("levels", "99.9", True), ("levels", "99.75", True),
        ("levels", "99.90", True), ("levels", "12.345678", True), ("levels", "99.95", False),
        ("levels", "0.5", False), ("levels", "100", False), ("levels", "80,,95", False),
        ("quantiles", "0.5", True), ("quantiles", "0.50", True), ("quantiles", "0.123456", True),
        ("quantiles", "0.000001", True), ("quantiles", "0.1,0.9", True), ("quantiles", "0.0", False),
        ("quantiles", "1", False), ("quantiles", "0.1234567", False), ("quantiles", "-0.1", False),
    ],
)  # fmt: skip
def test_levels_and_quantiles_follow_their_pattern(field: str, text: str, valid: bool) -> None:
    schema = ForecastsQuery.model_json_schema()["properties"][field]
    assert jsonschema.Draft202012Validator(schema).is_valid(text) is valid
    assert accepts(ForecastsQuery, {"ids": "bitcoin", field: text}) is valid


@pytest.mark.parametrize(
    ("sizes", "valid"),
    [
        ({"amount": 1}, True), ({"value": -2.5}, True), ({"amount": 1, "value": None}, True),
        ({}, False), ({"amount": None, "value": None}, False), ({"amount": 0}, False),
        ({"amount": 1, "value": 1}, False),
    ],
)  # fmt: skip
def test_a_holding_has_one_size_in_its_schema_too(sizes: dict[str, Any], valid: bool) -> None:
    body = {"id": "bitcoin", **sizes}
    assert jsonschema.Draft202012Validator(HoldingBody.model_json_schema()).is_valid(body) is valid
    assert accepts(HoldingBody, body) is valid


@pytest.mark.parametrize(("day", "valid"), [("2026-01-31", True), ("0", False), ("1700000000", False)])
def test_a_day_of_the_forecast_log_is_no_timestamp(day: str, valid: bool) -> None:
    assert accepts(LedgerQuery, {"from": day}) is valid
    assert accepts(LedgerQuery, {"to": day}) is valid


def accepts(model: Any, fields: dict[str, Any]) -> bool:
    """Return whether a model takes the fields."""
    try:
        model.model_validate(fields)
    except ValidationError:
        return False
    return True
