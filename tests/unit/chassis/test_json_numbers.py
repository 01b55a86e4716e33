"""Numbers in JSON replies have the precision that the name of their field calls for."""

from __future__ import annotations

import math

import pytest

from coincast_chassis.json_numbers import round_number, round_numbers


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("price", 87290.1865158081, "87290.18652"),
        ("price", 0.000011812345678912, "1.181234568e-05"),
        ("price", 1.1102230246251565e-14, "1.110223025e-14"),
        ("price", -87290.1865158081, "-87290.18652"),
        ("price", 117500.0, "117500.0"),
        ("market_cap", 2345678901234.5, "2345678901000.0"),
        ("lower", 0.1 + 0.2, "0.3"),
        ("probability", 0.12345678901234, "0.123456789"),
        ("price", 0.0, "0.0"),
        ("price", -0.0, "0.0"),
        ("price", math.inf, "inf"),
        ("skill_percent", 1.1102230246251565e-14, "0.0"),
        ("skill_percent", -1.1102230246251565e-14, "0.0"),
        ("change_24h_percent", -2.34567891, "-2.3457"),
        ("percent", 99.99999, "100.0"),
        ("coverage_80_percent", 80.0, "80.0"),
        ("coverage_80_standard_error", 0.5147372772, "0.5147"),
        ("age_seconds", 87290.1865158081, "87290.2"),
        ("age_seconds", 0.04, "0.0"),
        ("age_seconds", 0.06, "0.1"),
        ("retry_after_seconds", 12.345, "12.3"),
    ],
)
def test_a_number_has_the_precision_of_its_field(name: str, value: float, text: str) -> None:
    assert repr(round_number(name, value)) == text


@pytest.mark.parametrize("name", ["price", "skill_percent", "age_seconds"])
def test_nan_stays_nan(name: str) -> None:
    assert math.isnan(round_number(name, math.nan))


def test_a_document_is_rounded_at_every_depth_and_nothing_else_changes() -> None:
    document = {
        "prices": [{"id": "bitcoin", "price": 0.1 + 0.2, "rank": 12345678901234, "stale": False}],
        "intervals": {"80": {"lower": 1 / 3, "upper": None}},
        "levels_percent": (1 / 3, 2 / 3),
        "path": [[1 / 3], ["2025-09-01T13:00:00Z"]],
    }
    assert round_numbers(document) == {
        "prices": [{"id": "bitcoin", "price": 0.3, "rank": 12345678901234, "stale": False}],
        "intervals": {"80": {"lower": 0.3333333333, "upper": None}},
        "levels_percent": [0.3333, 0.6667],
        "path": [[0.3333333333], ["2025-09-01T13:00:00Z"]],
    }
