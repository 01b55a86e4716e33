"""The record of served risk answers: what is chosen for an answer, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest

from coincast_modelkit.scenarios.live_record import (
    NOT_SCORED,
    LiveRiskRecord,
    LiveRiskTable,
    exceedance_sentence,
    tenth_of,
    touch_sentence,
)


def record(kind: str = "touch", horizon: int = 7, **changes: Any) -> LiveRiskRecord:
    values: dict[str, Any] = {
        "kind": kind,
        "served_by": "ml_ensemble",
        "horizon_days": horizon,
        "tenth": None if kind == "exceedance" else 7,
        "level_percent": 95.0 if kind == "exceedance" else None,
        "statements": 1204,
        "promised_percent": 80.0,
        "observed_percent": 79.0,
        "standard_error_percent": 5.6,
        "independent_periods": 51,
        "brier": 0.16,
        "brier_skill_percent": 2.0,
        "loss_over_shortfall": None,
        "from_date": "2025-01-01",
        "to_date": "2025-12-31",
    }
    return LiveRiskRecord(**(values | changes))


TABLE = LiveRiskTable(
    1.0,
    (
        record(),
        record(tenth=None, statements=9000),
        record(tenth=2),
        record(horizon=1, tenth=7, statements=5),
        record("close_beyond", tenth=2),
        record(served_by="", statements=2000),
        record("exceedance", promised_percent=5.0, observed_percent=4.1, loss_over_shortfall=0.97),
        record("exceedance", level_percent=97.5, promised_percent=2.5),
    ),
)


def test_a_table_is_read_as_it_was_written() -> None:
    assert LiveRiskTable.from_json(TABLE.to_json()) == TABLE


@pytest.mark.parametrize("text", ["nothing", "[]", "{}", '{"measured_at": 1, "records": [{}]}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        LiveRiskTable.from_json(text)


def test_a_touch_quotes_its_tenths_and_all_together_at_the_nearest_horizon() -> None:
    found = TABLE.touches("ml_ensemble", 6, {7})
    assert [(r.kind, r.horizon_days, r.tenth, r.statements) for r in found] == [
        ("touch", 7, None, 9000),
        ("touch", 7, 7, 1204),
    ]
    assert [(r.probability_from, r.probability_to) for r in found] == [(0.0, 1.0), (0.7, 0.8)]
    assert [r.horizon_days for r in TABLE.touches("ml_ensemble", 2, {7})] == [1]
    assert [r.kind for r in TABLE.touches("ml_ensemble", 7, {2})] == ["touch", "touch", "close_beyond"]


def test_a_model_without_a_record_quotes_that_of_all_models() -> None:
    assert [(r.served_by, r.statements) for r in TABLE.touches("technical", 7, {7})] == [("", 2000)]


def test_losses_quote_the_levels_that_were_stated() -> None:
    found = TABLE.exceedances("ml_ensemble", 7, [95.0, 99.0])
    assert [(r.level_percent, r.probability_from) for r in found] == [(95.0, None)]
    assert exceedance_sentence(found, 95.0) == (
        "Of 1,204 answers about 7 days served since 2025-01-01, 4.1 % saw a loss larger than the 95 % value "
        "at risk and 5 % were promised (51 separate periods, standard error 5.6 points)."
    )
    assert exceedance_sentence(found, 99.0) == NOT_SCORED


def test_a_touch_says_what_came_true_and_how_much_that_is_worth() -> None:
    found = TABLE.touches("ml_ensemble", 7, {7})
    assert touch_sentence(found, 0.74) == (
        "Of 1,204 such statements about 7 days served since 2025-01-01, 79 % came true and 80 % were "
        "promised (51 separate periods, standard error 5.6 points)."
    )
    assert touch_sentence(found, 0.3) == touch_sentence((), 0.74) == NOT_SCORED


@pytest.mark.parametrize(("probability", "tenth"), [(0.0, 0), (0.0999, 0), (0.1, 1), (0.95, 9), (1.0, 9)])
def test_the_tenth_of_a_probability(probability: float, tenth: int) -> None:
    assert tenth_of(probability) == tenth
