"""The paired sequential test: what it tells, how often wrongly, and from which day on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast.training.v1 import training_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_training.grpc.accuracy import AccuracyServicer
from coincast_training.scoring.lag import LedgerWatch
from coincast_training.scoring.risk.store import RiskStore
from coincast_training.scoring.scorer import score_rows
from coincast_training.scoring.sequential_test import cumulative, evaluate_pairs, relative_difference
from tests.unit.training.training_fakes import FakeHistory, candles_of, registry_in
from tests.unit.training.training_ledger_rows import forecast_of, ledger_in

CANDLES = candles_of("bitcoin", 400, first="2024-01-01")
NEWEST = dt.date(2025, 2, 3)
NOW = dt.datetime(2025, 2, 4, tzinfo=dt.UTC).timestamp()
CHALLENGER = {"version": "v000002", "variant": "challenger"}
ALPHA = 0.05


class NoWatch:
    async def status(self) -> pb.LedgerStatus:
        return pb.LedgerStatus()


def accuracy_of(folder: Path, rows: list[dict]) -> AccuracyServicer:
    """The service over the scores of the rows, on the day of the newest candle."""
    ledger = ledger_in(folder, FakeHistory({"bitcoin": CANDLES}), ManualClock(NOW))
    scored = score_rows(rows, {"bitcoin": CANDLES}, newest=NEWEST, now=NOW).scored
    ledger.store.close_cycle(scored, [], [])
    return AccuracyServicer(
        ledger.store,
        registry_in(folder / "artifacts"),
        cast(LedgerWatch, NoWatch()),
        ledger.calendar,
        risk=RiskStore(folder / "risk.sqlite"),
    )


async def reported_by(service: AccuracyServicer, **requested) -> dict[str, pb.VariantTest]:
    reply = await service.GetAccuracy(pb.GetAccuracyRequest(**requested), cast(Any, None))
    return {test.version_b: test for test in reply.tests}


def made(first: int, last: int, **changes) -> list[dict]:
    return [forecast_of(CANDLES, day, **changes) for day in range(first, last)]


@pytest.mark.slow
async def test_the_better_variant_is_reported_and_equals_are_not(tmp_path: Path):
    bad = made(280, 390, width=3.0, **CHALLENGER)
    twin = made(280, 390, version="v000003", variant="shadow")
    tests = await reported_by(accuracy_of(tmp_path, made(280, 390) + bad + twin), days=365)
    assert (tests["v000002"].better, tests["v000002"].pairs) == ("a", 110)
    assert tests["v000003"].better == "undecided"
    assert tests["v000003"].e_value == pytest.approx(1.0)


@pytest.mark.slow
async def test_the_test_starts_where_both_first_forecast_whatever_days_are_requested(tmp_path: Path):
    rows = made(300, 399) + made(330, 399, width=2.0, **CHALLENGER)
    service = accuracy_of(tmp_path, rows)
    tests = [(await reported_by(service, days=days))["v000002"] for days in (7, 30, 365)]
    assert tests[0] == tests[1] == tests[2]
    assert (tests[0].pairs, tests[0].from_date) == (69, str(CANDLES.dates[330]))
    assert (await reported_by(service, model="lightgbm", id="bitcoin", days=7))["v000002"] == tests[0]


@pytest.mark.slow
async def test_a_variant_that_ended_before_the_days_requested_is_not_reported(tmp_path: Path):
    service = accuracy_of(tmp_path, made(320, 399) + made(340, 360, **CHALLENGER))
    assert await reported_by(service, days=30) == {}
    assert (await reported_by(service, days=365))["v000002"].pairs == 20


@pytest.mark.slow
async def test_a_day_that_is_scored_late_moves_no_other(tmp_path: Path):
    """A day without a pair is one without a bet: the others stay in the piles that they were dealt to."""
    days, absent = set(range(300, 356)), set(range(303, 356, 7))
    whole = (await reported_by(accuracy_of(tmp_path / "whole", _rivals(days)), days=365))["v000002"]
    without = (await reported_by(accuracy_of(tmp_path / "late", _rivals(days - absent)), days=365))["v000002"]
    # One pile in seven is absent and stands at 1; what the six others won is what they won before.
    scored = score_rows(_rivals(absent), {"bitcoin": CANDLES}, newest=NEWEST, now=NOW).scored
    losses = np.array([row["crps"] for row in scored]).reshape(2, -1)
    pile = cumulative(-relative_difference(*losses), 1)
    assert without.e_value == pytest.approx(whole.e_value + (1.0 - pile) / 7)


def _rivals(days: set[int]) -> list[dict]:
    """Production's forecasts of the days, a week ahead, then the challenger's, which are wider."""
    rows = [forecast_of(CANDLES, day, 7) for day in sorted(days)]
    return rows + [
        forecast_of(CANDLES, day, 7, width=1.5 + day % 7 / 7, **CHALLENGER) for day in sorted(days)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("horizon", "trials", "days"), [(1, 250, 150), (7, 60, 150)])
def test_equal_variants_are_reported_as_different_no_more_often_than_expected(horizon, trials, days):
    rng = np.random.default_rng(11)
    false_b = false_a = 0
    for _ in range(trials):
        differences = relative_difference(_losses(rng, days, horizon), _losses(rng, days, horizon))
        read = [evaluate_pairs({horizon: differences[:n]}, n) for n in range(1, days + 1)]
        false_b += any(result.for_b >= 20 for result in read)
        false_a += any(result.for_a >= 20 for result in read)
    assert max(false_a, false_b) / trials <= ALPHA


def _losses(rng: np.random.Generator, days: int, horizon: int) -> np.ndarray:
    """Of forecasts made every day, `horizon` days ahead: neighbours share all but one of their days."""
    return np.convolve(rng.gamma(2, 1, days + horizon - 1), np.ones(horizon), "valid")


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.integers(1, 30))
def test_capital_is_never_negative_and_one_without_difference(differences: list[float], horizon: int):
    assert cumulative(np.array(differences), horizon) > 0
    assert cumulative(np.zeros(len(differences)), horizon) == pytest.approx(1.0)
