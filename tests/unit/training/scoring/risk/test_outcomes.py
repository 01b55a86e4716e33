"""What becomes of a statement on each of its days."""

from __future__ import annotations

import datetime as dt

import pytest

from coincast_training.scoring.risk.outcomes import first_due, last_due, outcomes_of
from tests.unit.training.scoring.risk.risk_statements import candles_of, losses, touch

NAN = float("nan")
DAYS = [dt.date(2025, 9, 1) + dt.timedelta(days=i) for i in range(3)]

# Name: level, closes, highs, lows; touched by each day, closed beyond on each day.
TOUCHES = {
    "a high above is a touch for good": (105.0, [101, 99, 98], [105, 99, 98], [101, 99, 98], "111", "000"),
    "a close above is a touch and beyond": (105.0, [101, 106, 104], None, None, "011", "010"),
    "below, by a low": (95.0, [99, 98, 97], [99, 98, 97], [99, 95, 97], "011", "000"),
    "below, by a close": (95.0, [94, 99, 95], None, None, "111", "101"),
    "a high says nothing of a level below": (95.0, [99, 99, 99], [120, 120, 120], [99, 99, 99], "000", "000"),
    "a low says nothing of a level above": (105.0, [99, 99, 99], [99, 99, 99], [50, 50, 50], "000", "000"),
    "exactly the level": (105.0, [105, 100, 100], None, None, "111", "100"),
    "a close outside its range counts": (105.0, [106, 100, 100], [101, 101, 101], [99] * 3, "111", "100"),
}


@pytest.mark.parametrize("case", TOUCHES.values(), ids=TOUCHES)
def test_touches_are_decided_by_the_ranges_of_the_days(case: tuple) -> None:
    level, closes, highs, lows, touched, beyond = case
    statement = touch(level)
    histories = {"bitcoin": candles_of(closes, high=highs, low=lows)}
    for horizon, day in enumerate(DAYS, start=1):
        found = {o.kind: o for o in outcomes_of(statement, day, histories) or []}
        assert found["touch"].came_true == (touched[horizon - 1] == "1"), horizon
        assert found["close_beyond"].came_true == (beyond[horizon - 1] == "1"), horizon
        assert found["touch"].promised == statement.touch[horizon - 1]
        assert found["close_beyond"].promised == statement.close_beyond[horizon - 1]
        assert found["touch"].horizon_days == horizon


@pytest.mark.parametrize("closes", [[101, 101, 101], [101, 106, 101]], ids=["not touched", "touched"])
def test_a_day_without_a_range_leaves_the_touch_unscored_whether_it_came_or_not(closes: list[float]) -> None:
    histories = {"bitcoin": candles_of(closes, high=[101, NAN, 101])}
    kinds = [[o.kind for o in outcomes_of(touch(105.0), day, histories) or []] for day in DAYS]
    assert kinds == [["close_beyond", "touch"], ["close_beyond"], ["close_beyond"]]


def test_the_days_of_a_later_part_count_from_the_close_too() -> None:
    statement = touch(105.0, first_day=2, touch=(0.4, 0.6), close_beyond=(0.2, 0.3))
    assert (first_due(statement), last_due(statement)) == (DAYS[1], DAYS[2])
    found = outcomes_of(statement, DAYS[1], {"bitcoin": candles_of([106, 100, 100])})
    assert found is not None
    assert [(o.kind, o.promised, o.came_true) for o in found] == [
        ("close_beyond", 0.2, False),
        ("touch", 0.4, True),
    ]


def test_a_missing_candle_decides_nothing() -> None:
    assert outcomes_of(touch(), DAYS[0], {}) is None
    assert outcomes_of(touch(), DAYS[1], {"bitcoin": candles_of([100.0])}) is None
    with_gap = candles_of([100.0, 100.0, 100.0])
    gap = type(with_gap).of("bitcoin", with_gap.dates[[0, 2]], with_gap.close[[0, 2]])
    assert outcomes_of(touch(), DAYS[2], {"bitcoin": gap}) is None
    assert outcomes_of(losses(), DAYS[1], {"bitcoin": candles_of([100.0, 100.0])}) is None


# Closes of bitcoin and ether two days on; exceeded at 90 and 99 %; loss over expected shortfall.
LOSSES = {
    "a gain": (110.0, 9.0, (False, False), (None, None)),
    "a loss within": (94.0, 10.0, (False, False), (None, None)),
    "exactly the value at risk": (100.0, 12.0, (False, False), (None, None)),
    "beyond 90 %": (88.0, 10.0, (True, False), (0.09 / 0.08, None)),
    "beyond both, by both coins": (80.0, 14.0, (True, True), (0.25 / 0.08, 0.25 / 0.25)),
}


@pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES)
def test_losses_are_those_of_the_weights(case: tuple) -> None:
    bitcoin, ether, exceeded, ratios = case
    histories = {
        "bitcoin": candles_of([50.0, bitcoin]),
        "ethereum": candles_of([90.0, ether], coin="ethereum"),
    }
    found = outcomes_of(losses(), DAYS[1], histories)
    assert found is not None
    assert [o.level_percent for o in found] == [90.0, 99.0]
    assert [o.promised for o in found] == pytest.approx([0.1, 0.01])
    assert tuple(o.came_true for o in found) == exceeded
    assert [o.loss_over_shortfall for o in found] == [
        None if ratio is None else pytest.approx(ratio) for ratio in ratios
    ]
