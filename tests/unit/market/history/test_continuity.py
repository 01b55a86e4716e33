"""Steps at the newest end are unconfirmed until a spot price or time confirms them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from coincast_market_data.coingecko.parser import is_jump
from coincast_market_data.domain import Candle, HourlyCandle
from coincast_market_data.history.continuity import (
    TAIL_DAYS,
    contradicting_hours,
    implausible_ranges,
    restatement,
    unconfirmed_tail,
)

DAY = date(2025, 5, 1)


def candles(closes: Sequence[float]) -> list[Candle]:
    return [Candle(DAY + timedelta(days=number), close) for number, close in enumerate(closes)]


@pytest.mark.parametrize(
    ("closes", "spot", "days"),
    [
        ([100.0] * 20 + [100_000.0] * 5, None, 5),
        ([100.0] * 20 + [100_000.0] * 5, 101.0, 5),
        ([100.0] * 20 + [100_000.0] * 5, 99_000.0, 0),
        ([63.856, 33.144, 16.867, 1.0629], None, 1),
        ([63.856, 33.144, 16.867, 1.0629], 0.9, 0),
        ([63.856, 33.144, 16.867, 12.0, 7.0], None, 0),
        ([100.0] * 20 + [1.0] * (TAIL_DAYS + 1), None, 0),
        ([100.0], None, 0),
        ([], None, 0),
    ],
)
def test_a_step_at_the_end_is_unconfirmed_until_something_supports_it(
    closes: list[float], spot: float | None, days: int
) -> None:
    found = unconfirmed_tail(candles(closes), spot)
    assert [candle.close for candle in found] == (closes[-days:] if days else [])


@pytest.mark.parametrize(
    ("kept", "new", "factor"),
    [
        ([100.0] * 5, [1.0] * 5, 0.01),
        ([100.0, 110.0, 120.0], [1000.0, 1100.0, 1200.0], 10.0),
        ([100.0] * 5, [100.5] * 5, None),
        ([100.0] * 5, [100.0, 100.0, 900.0, 100.0, 100.0], None),
        ([100.0] * 3, [], None),
    ],
)
def test_a_restatement_multiplies_all_days_by_one_number(
    kept: list[float], new: list[float], factor: float | None
) -> None:
    found = restatement(candles(kept), candles(new))
    assert found == (None if factor is None else pytest.approx(factor))


def test_the_newest_price_is_never_taken_for_a_slip() -> None:
    collapse = [63.856, 33.144, 16.867, 1.0629]
    assert not any(is_jump(collapse, index) for index in range(len(collapse)))
    assert is_jump([100.0, 100.0, 9000.0, 100.0, 100.0], 2)


def ranged(*highs_and_lows: tuple[float | None, float | None]) -> list[Candle]:
    """Candles with a close of 100 and these highs and lows."""
    return [
        Candle(date(2025, 3, 1) + timedelta(days=n), 100.0, 100.0, high, low)
        for n, (high, low) in enumerate(highs_and_lows)
    ]


@pytest.mark.parametrize(
    ("high", "low", "false"),
    [
        (110.0, 90.0, False),
        (None, None, False),
        (900.0, 90.0, False),
        (110.0, 11.0, False),
        (1000.0, 90.0, True),
        (110.0, 10.0, True),
        (110.0, 0.0, True),
        (110.0, -5.0, True),
        (99.0, 90.0, True),
        (110.0, 101.0, True),
        (None, 5.0, True),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_high_or_low_tenfold_off_or_beyond_the_close_is_false(
    high: float | None, low: float | None, false: bool, place: int
) -> None:
    rows: list[tuple[float | None, float | None]] = [(110.0, 90.0)] * 3
    rows[place] = (high, low)
    days = ranged(*rows)
    assert implausible_ranges(days) == ([days[place]] if false else [])


def test_the_range_of_a_collapse_is_true() -> None:
    """The low of the day is near the next day's close."""
    days = ranged((110.0, 90.0), (110.0, 2.0), (3.0, 1.0))
    days[2] = replace(days[2], close=2.0)
    assert implausible_ranges(days) == []


def hours(scales: Sequence[float], last_hours: int = 24) -> list[HourlyCandle]:
    """Hours that close at 100 times the scale of their day; the last day has `last_hours` of them."""
    start = int(datetime.combine(DAY, time(), UTC).timestamp())
    counts = [24] * (len(scales) - 1) + [last_hours]
    return [
        HourlyCandle(start + (24 * number + hour) * 3600, 100.0 * scale)
        for number, (scale, count) in enumerate(zip(scales, counts, strict=True))
        for hour in range(count)
    ]


@pytest.mark.parametrize(
    ("scales", "last_hours", "closes", "odd_days"),
    [
        ([1, 1, 1], 24, [100.0] * 3, []),
        ([1, 1, 1], 5, [100.0] * 2, []),
        ([1, 1, 1], 24, [1.0] * 3, [0, 1, 2]),
        ([1, 1, 1], 24, [25.0] * 3, [0, 1, 2]),
        ([1, 1, 1], 5, [50.0] * 2, [0, 1, 2]),
        ([1, 1, 0.01], 24, [1.0] * 3, [0, 1]),
        ([1, 1, 0.4], 5, [100.0] * 2, []),
        ([1, 1, 0.01], 5, [100.0] * 2, [2]),
        ([1, 1], 24, [], []),
    ],
    ids=[
        "agree",
        "agree, with hours of today",
        "restated",
        "restated by less than tenfold",
        "restated, and today goes with the days before it",
        "only the days that contradict",
        "a true fall within today",
        "a tenfold step within today",
        "no days",
    ],
)
def test_hours_on_another_scale_than_their_days_contradict_them(
    scales: list[float], last_hours: int, closes: list[float], odd_days: list[int]
) -> None:
    found = contradicting_hours(hours(scales, last_hours), candles(closes))
    days = {datetime.fromtimestamp(hour.start, UTC).date() for hour in found}
    assert days == {DAY + timedelta(days=number) for number in odd_days}
