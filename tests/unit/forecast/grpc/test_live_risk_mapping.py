"""The live record of risk answers: read when it is replaced, and quoted with the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_forecast.grpc.live_risk_mapping import add_live_losses, add_live_touches
from coincast_forecast.registry.live_records import open_live_risk
from coincast_modelkit.scenarios.live_record import (
    LIVE_RISK_FILE,
    NOT_SCORED,
    LiveRiskRecord,
    LiveRiskTable,
    tenth_of,
)
from tests.unit.forecast.scenarios.test_recorder import portfolio, touch


def record(kind: str, tenth: int | None, **changes: Any) -> LiveRiskRecord:
    values: dict[str, Any] = {
        "served_by": "",
        "horizon_days": 7,
        "level_percent": None,
        "statements": 40,
        "promised_percent": 55.0,
        "observed_percent": 52.5,
        "standard_error_percent": 11.0,
        "independent_periods": 20,
        "brier": None,
        "brier_skill_percent": None,
        "loss_over_shortfall": None,
        "from_date": "2025-01-01",
        "to_date": "2025-08-01",
    }
    return LiveRiskRecord(kind=kind, tenth=tenth, **(values | changes))


def test_a_touch_carries_the_record_of_its_kind() -> None:
    answer = touch(105.0)
    chances = answer.coins["bitcoin"][1][0].probabilities
    mine = tenth_of(float(chances.touch[6]))
    table = LiveRiskTable(1.0, tuple(record("touch", tenth) for tenth in (None, *range(10))))
    message = pb.EstimateTouchResponse()
    add_live_touches(message, answer, table, days=7, recorded=True)
    assert message.basis.recorded
    found = [(r.kind, r.probability_from, r.probability_to) for r in message.basis.live_records]
    assert found[0] == ("touch", 0.0, 1.0)
    bounds = [(lower, upper) for kind, lower, upper in found if kind == "touch"]
    assert any((lower, upper) == pytest.approx((mine / 10, (mine + 1) / 10)) for lower, upper in bounds)
    assert "52 % came true and 55 % were promised (20 separate periods" in message.basis.live_sentence
    assert not message.basis.live_records[0].HasField("level_percent")
    assert not message.basis.live_records[0].HasField("brier")


def test_a_portfolio_carries_the_record_of_its_levels() -> None:
    rows = [record("exceedance", None, level_percent=level) for level in (90.0, 95.0, 97.5)]
    message = pb.AssessPortfolioResponse()
    add_live_losses(
        message, portfolio(levels=(95.0, 97.5, 99.9)), LiveRiskTable(1.0, tuple(rows)), recorded=False
    )
    assert [r.level_percent for r in message.basis.live_records] == [95.0, 97.5]
    assert not message.basis.live_records[0].HasField("probability_from")
    assert "52.5 % saw a loss larger than the 95 % value at risk" in message.basis.live_sentence
    assert not message.basis.recorded


def test_before_anything_is_scored_the_answer_says_so() -> None:
    touched, lost = pb.EstimateTouchResponse(), pb.AssessPortfolioResponse()
    add_live_touches(touched, touch(105.0), LiveRiskTable(), days=7, recorded=True)
    add_live_losses(lost, portfolio(), LiveRiskTable(), recorded=True)
    for basis in (touched.basis, lost.basis):
        assert list(basis.live_records) == []
        assert basis.live_sentence == NOT_SCORED


def test_a_file_is_read_when_it_is_replaced_and_damage_changes_nothing(tmp_path: Path) -> None:
    reader = open_live_risk(tmp_path)
    reader.read()
    assert reader.current == LiveRiskTable()
    table = LiveRiskTable(1.0, (record("touch", 5),))
    (tmp_path / LIVE_RISK_FILE).write_text(table.to_json())
    reader.read()
    assert reader.current == table
    for damage in ("", "[]", "{", '{"records": 1}', table.to_json().replace("statements", "other")):
        (tmp_path / LIVE_RISK_FILE).write_text(damage)
        reader.read()
        assert reader.current == table, damage
