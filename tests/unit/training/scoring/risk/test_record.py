"""From tallies to records: shares, errors and the number of separate periods."""

from __future__ import annotations

from typing import Any

import pytest

from coincast_training.scoring.risk.record import independent_periods, live_risk_table
from coincast_training.scoring.risk.store import Tally


def tally(as_of: str = "2025-09-01", **changes: Any) -> Tally:
    values: dict[str, Any] = {
        "kind": "touch",
        "served_by": "ml_ensemble",
        "horizon_days": 7,
        "bin": "2",
        "as_of": as_of,
        "statements": 10,
        "promised": 2.5,
        "came_true": 3,
        "squared_error": 2.0,
        "exceeded": 0,
        "loss_over_shortfall": 0.0,
    }
    return Tally(**(values | changes))


@pytest.mark.parametrize(
    ("days", "horizon", "periods"),
    [
        (["2025-09-01"], 7, 1),
        (["2025-09-01", "2025-09-07"], 7, 1),
        (["2025-09-01", "2025-09-08"], 7, 2),
        (["2025-09-08", "2025-09-01", "2025-09-05", "2025-09-12", "2025-09-15"], 7, 3),
        ([f"2025-09-{day:02}" for day in range(1, 15)], 1, 14),
        ([f"2025-09-{day:02}" for day in range(1, 15)], 14, 1),
        (["2025-09-01", "2025-09-01"], 1, 1),
    ],
)
def test_periods_do_not_overlap(days: list[str], horizon: int, periods: int) -> None:
    assert independent_periods(days, horizon) == periods


def test_shares_are_over_all_statements() -> None:
    table = live_risk_table(
        [tally(), tally("2025-09-20"), tally("2025-09-21", bin="7", promised=7.5, came_true=8)],
        measured_at=5.0,
    )
    own = {r.tenth: r for r in table.records if r.served_by == "ml_ensemble"}
    assert set(own) == {None, 2, 7}
    assert (own[2].statements, own[2].promised_percent, own[2].observed_percent) == (20, 25.0, 30.0)
    assert (own[2].from_date, own[2].to_date, own[2].independent_periods) == ("2025-09-01", "2025-09-20", 2)
    assert own[2].standard_error_percent == pytest.approx(100 * (0.25 * 0.75 / 2) ** 0.5, abs=1e-3)
    assert own[2].brier == pytest.approx(0.2)
    assert own[2].brier_skill_percent == pytest.approx(100 * (1 - 0.2 / 0.21), abs=1e-3)
    assert own[None].statements == 30
    assert own[None].observed_percent == pytest.approx(46.6667)


def test_all_models_are_pooled_beside_each() -> None:
    table = live_risk_table([tally(), tally(served_by="technical", came_true=10)], measured_at=5.0)
    shares = {r.served_by: r.observed_percent for r in table.records if r.tenth == 2}
    assert shares == {"ml_ensemble": 30.0, "technical": 100.0, "": 65.0}


def test_exceedances_have_a_level_and_no_brier_score() -> None:
    rows = [
        tally(kind="exceedance", bin="95", promised=0.5, came_true=1, exceeded=1, loss_over_shortfall=0.9),
        tally("2025-09-20", kind="exceedance", bin="95", promised=0.5, came_true=0),
        tally(kind="exceedance", bin="97.5", promised=0.25, came_true=0),
    ]
    found = {r.level_percent: r for r in live_risk_table(rows, measured_at=5.0).records if not r.served_by}
    assert set(found) == {95.0, 97.5}
    at_95 = found[95.0]
    assert (at_95.promised_percent, at_95.observed_percent, at_95.loss_over_shortfall) == (5.0, 5.0, 0.9)
    assert (at_95.tenth, at_95.brier, at_95.brier_skill_percent) == (None, None, None)
    assert found[97.5].loss_over_shortfall is None


def test_a_share_of_none_or_all_claims_no_skill() -> None:
    [record] = [
        r
        for r in live_risk_table([tally(came_true=0)], measured_at=1.0).records
        if r.tenth == 2 and r.served_by
    ]
    assert record.brier_skill_percent is None
    assert record.standard_error_percent > 0
