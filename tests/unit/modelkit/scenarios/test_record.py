"""How statements did, in one sentence, and stored with the library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.scenarios import RiskRecord, ScenarioLibrary, Statements, simulate_paths
from tests.unit.modelkit.scenarios.scenario_market import COINS, START, forecasts_on, library_of, market

RECORD = RiskRecord(
    first_day="2023-01-01",
    last_day="2025-01-01",
    touches={"7:7": Statements(1204, 75.2, 74.1), "1:7": Statements(12, 75.0, 70.0)},
    exceedances={"1:95": Statements(150, 5.0, 4.7)},
)

TOUCHED = (
    "In 1,204 earlier forecasts with a similar probability over 7 days the price touched the level in 74 %; "
    "75 % were expected."
)


@pytest.mark.parametrize(
    ("probability", "days", "sentence"),
    [
        (0.79, 7, TOUCHED),
        (0.79, 6, TOUCHED),
        (0.79, 1, ""),  # twelve forecasts are too few
        (0.5, 7, ""),
        (1.0, 7, ""),
    ],
)
def test_touches_are_reported_by_tenth(probability: float, days: int, sentence: str) -> None:
    assert RECORD.touch_sentence(probability, days) == sentence


def test_exceedances_are_reported() -> None:
    expected = (
        "On 150 past days an equally weighted basket lost more than its 95 % value at risk over one day "
        "in 4.7 % of cases; 5 % were expected."
    )
    assert RECORD.exceedance_sentence(95.0, 1) == expected
    assert RECORD.exceedance_sentence(99.0, 1) == ""


def test_the_record_is_stored_with_the_library_and_reaches_the_paths() -> None:
    panel = market()
    library = ScenarioLibrary.from_bytes(replace(library_of(panel), record=RECORD).to_bytes())
    assert library.record == RECORD
    day = START + np.timedelta64(699, "D")
    paths = simulate_paths(library.window(day), forecasts_on(panel, COINS, day), 7)
    assert paths.record == RECORD
    assert paths.spread(50).record == RECORD


def test_a_library_without_a_record_is_read_too() -> None:
    assert ScenarioLibrary.from_bytes(library_of(market()).to_bytes()).record is None
