"""Hours out of intraday points: closed hours only, and none without a close."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_market_data.coingecko.parser import Point
from coincast_market_data.history.candle_builder import build_hours, last_closed_hour

HOUR = 3600
START = 1_756_717_200 // HOUR * HOUR


def series(count: int, *, step: int = HOUR, late: float = 40.0) -> list[Point]:
    return [Point(START + number * step + late, 100.0 + number) for number in range(count)]


@pytest.mark.parametrize("late", [0.0, 40.0, 299.0])
def test_the_point_at_a_full_hour_closes_the_hour_before(late: float) -> None:
    candles = build_hours(series(5, late=late), START + 3 * HOUR)
    assert [(candle.start - START) // HOUR for candle in candles] == [0, 1, 2, 3]
    assert [candle.close for candle in candles] == [101.0, 102.0, 103.0, 104.0]
    assert [candle.open for candle in candles] == [100.0, 101.0, 102.0, 103.0]
    assert all(candle.high is None for candle in candles), "one point an hour gives no range"


def test_points_of_five_minutes_give_the_range() -> None:
    candles = build_hours(series(25, step=300, late=0.0), START + HOUR)
    assert [(c.open, c.high, c.low, c.close) for c in candles] == [
        (100.0, 112.0, 100.0, 112.0),
        (112.0, 124.0, 112.0, 124.0),
    ]


def test_the_open_hour_a_gap_and_daily_points_give_no_candle() -> None:
    points = series(6)
    assert len(build_hours(points, START + HOUR)) == 2, "later hours are not closed yet"
    gap = [*points[:3], *points[4:]]
    assert [(c.start - START) // HOUR for c in build_hours(gap, START + 10 * HOUR)] == [0, 1, 3, 4]
    assert [c.open for c in build_hours(gap, START + 10 * HOUR)][2] is None
    assert build_hours(series(9, step=86_400), START + 900_000) == []
    assert build_hours(points[:1], START) == []


@pytest.mark.parametrize(("after", "closed"), [(0, -2), (299, -2), (300, -1), (3599, -1)])
def test_an_hour_is_closed_five_minutes_after_its_end(after: int, closed: int) -> None:
    assert last_closed_hour(START + after) == START + closed * HOUR


def test_a_chart_of_an_old_span_is_not_walked_to_the_newest_hour() -> None:
    """The work depends on the points alone; walking a billion hours would not end within the test's time."""
    old = build_hours(series(5), START + 10**9 * HOUR)
    assert old == build_hours(series(5), START + 3 * HOUR)


@given(st.lists(st.integers(0, 40_000), min_size=3, max_size=60, unique=True).map(sorted))
def test_each_close_is_the_price_of_the_nearest_point_from_15_minutes_before_to_5_after(
    seconds: list[int],
) -> None:
    points = [Point(START + second, 100.0 + number) for number, second in enumerate(seconds)]
    for candle in build_hours(points, START + 20 * HOUR):
        end = candle.start + HOUR
        near = [point for point in points if end - 900 <= point.at <= end + 300]
        nearest = min(near, key=lambda point: (abs(point.at - end), point.at))
        assert candle.close == nearest.price
