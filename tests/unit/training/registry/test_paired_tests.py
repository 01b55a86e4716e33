"""Two versions on the same forecasts: horizons in days and in hours are named as what they are."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.artifact import HorizonRecord, Record
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_training.registry.comparison import compare_records
from coincast_training.registry.paired_tests import paired_tests, spans, verdict
from coincast_training.trainers.base import WalkForward

DAYS = 200


def walked(width: float, horizons: tuple[int, ...]) -> WalkForward:
    """Forecasts of one coin by a normal of a width, on returns of a unit normal."""
    rng = np.random.default_rng(3)
    n = DAYS * len(horizons)
    quantiles = np.linspace(-2.5, 2.5, len(PROBABILITIES))
    return WalkForward(
        coin_ids=np.full(n, "bitcoin"),
        origins=np.tile(
            np.datetime64("2024-01-01", "D") + np.arange(DAYS).astype("timedelta64[D]"), len(horizons)
        ),
        horizons=np.repeat(np.array(horizons), DAYS),
        last_prices=np.ones(n),
        probabilities=PROBABILITIES,
        log_return_quantiles=np.repeat(width * quantiles[None], n, axis=0),
        actual_log_returns=rng.standard_normal(n),
    )


@pytest.mark.parametrize(("hourly", "words"), [(True, "6, 24 hours"), (False, "6, 24 days")])
def test_the_verdict_names_the_unit(hourly: bool, words: str) -> None:
    tests = paired_tests(walked(4.0, (6, 24)), walked(1.0, (6, 24)), hourly=hourly)
    assert verdict("v1", "v2", tests) == f"v2 is better by CRPS at {words}."
    assert {t.horizon_hours for t in tests} == ({6, 24} if hourly else {0})
    assert {t.horizon_days for t in tests} == ({0} if hourly else {6, 24})


def test_hours_of_one_day_do_not_overlap() -> None:
    """24 hours made at midnight overlap with nothing; 24 days overlap with 23 others."""
    a, b = walked(4.0, (24,)), walked(1.0, (24,))
    by_hour, by_day = (paired_tests(a, b, hourly=hourly)[0] for hourly in (True, False))
    one_day = paired_tests(walked(4.0, (1,)), walked(1.0, (1,)))[0]
    assert by_hour.statistic == pytest.approx(one_day.statistic)
    assert by_day.statistic != pytest.approx(one_day.statistic)


def record_of(**horizon: int) -> Record:
    """A record of one horizon."""
    figures = HorizonRecord(**{"horizon_days": 0, "forecasts": 5, **horizon})
    return Record(0.0, ("bitcoin",), "2024-01-01", "2024-02-01", (figures,))


def test_a_record_of_hours_is_not_called_days() -> None:
    found = compare_records(record_of(horizon_hours=6), record_of(horizon_days=7), [])
    assert found.basis == "its record has 6 hours, that of production has 7 days"
    assert spans([]) == "no days"
