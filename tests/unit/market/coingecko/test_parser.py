"""Charts: a series without a fault is parsed as a whole, any other row by row, with the same points."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_market_data.coingecko.parser import CleaningReport, Point, clean_series

NOW = 1_756_717_200.0
HOUR_MS = 3_600_000
prices = st.floats(0.5, 4.0)
figures = st.one_of(st.integers(0, 10**12), st.floats(0, 1e12))


def chart(values: list[float], sides: list[Any]) -> dict[str, list[list[Any]]]:
    """Return a chart by the hour, whose market values and volumes are the same figures."""
    times = [int(NOW * 1000) - (len(values) - number) * HOUR_MS for number in range(len(values))]
    side = [[at, value] for at, value in zip(times, sides, strict=True)]
    return {
        "prices": [[at, value] for at, value in zip(times, values, strict=True)],
        "market_caps": side,
        "total_volumes": side,
    }


@given(st.lists(st.tuples(prices, figures), min_size=1, max_size=30))
def test_points_do_not_depend_on_the_way_of_parsing(rows: list[tuple[float, float]]) -> None:
    document = chart([price for price, _ in rows], [figure for _, figure in rows])
    points, findings = clean_series(document, NOW)
    assert findings == CleaningReport()
    assert [point.price for point in points] == [price for price, _ in rows]
    # A row that is none in each array: the others are checked one by one.
    row_by_row, counted = clean_series({name: [*rows, "no row"] for name, rows in document.items()}, NOW)
    assert row_by_row == points
    assert counted.quarantined == {"not_a_row": 3}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (["1756713600000", 2.0], "not_a_row"),
        ([1_756_713_600_000, "2.0"], "not_a_number"),
        ([1_756_713_600_000, True], "not_a_number"),
        ([1_756_713_600_000, None], "not_a_number"),
        ([1_756_713_600_000, 10**400], "not_a_number"),
        ([1_756_713_600_000, float("nan")], "not_finite"),
        ([1_756_713_600_000, float("inf")], "not_finite"),
        ([1_756_713_600_000, 0], "not_positive"),
        ([1_756_713_600_000, -2.0], "not_positive"),
        ([1_756_713_600_000, 2.0, 3.0], "not_a_row"),
        ([float("nan"), 2.0], "not_a_row"),
        ([10**400, 2.0], "not_a_row"),
        ([0, 2.0], "absurd_clock"),
        ([int(NOW * 1000) + 24 * HOUR_MS, 2.0], "absurd_clock"),
    ],
)
def test_a_price_that_cannot_be_true_is_counted_and_the_rest_stays(row: list[Any], fault: str) -> None:
    document = chart([2.0, 2.1], [1.0, 1.0])
    for rows in ([row, *document["prices"]], [*document["prices"], row]):
        points, findings = clean_series({**document, "prices": rows}, NOW)
        assert [point.price for point in points] == [2.0, 2.1]
        assert findings.quarantined == {fault: 1}


@pytest.mark.parametrize(
    ("figure", "fault"),
    [
        (-1.0, "figure_negative"),
        (float("nan"), "figure_not_finite"),
        ("1", "figure_not_a_number"),
        (None, None),
    ],
)
def test_a_figure_that_cannot_be_true_is_absent_from_its_point(figure: Any, fault: str | None) -> None:
    document = chart([2.0, 2.1], [1.0, figure])
    points, findings = clean_series(document, NOW)
    assert [(point.price, point.volume, point.market_cap) for point in points] == [
        (2.0, 1.0, 1.0),
        (2.1, None, None),
    ]
    assert findings.quarantined == ({fault: 2} if fault else {})


def test_two_prices_of_one_moment_are_both_left_out_and_equal_ones_count_once() -> None:
    document = chart([2.0, 2.1, 2.2], [1.0, 1.0, 1.0])
    (first, second, third) = document["prices"]
    points, findings = clean_series({**document, "prices": [first, second, second, third]}, NOW)
    assert (len(points), findings.duplicates) == (3, 1)
    points, findings = clean_series({**document, "prices": [first, second, [second[0], 2.3], third]}, NOW)
    assert ([point.price for point in points], findings.quarantined) == ([2.0, 2.2], {"contradiction": 1})


def test_a_single_point_tenfold_off_all_its_neighbours_is_dropped() -> None:
    points, findings = clean_series(chart([2.0, 2.0, 2.0, 25.0, 2.0, 2.0], [1.0] * 6), NOW)
    assert ([point.price for point in points], findings.quarantined) == ([2.0] * 5, {"jump": 1})
    assert points[0] == Point(NOW - 6 * 3600, 2.0, market_cap=1.0, volume=1.0)
