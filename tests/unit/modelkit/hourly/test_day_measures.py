"""Measures that a day's hours give a daily model: the day's border, missing hours, and one kind of source."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_modelkit.hourly.candles import HOUR, HourlyCandles
from coincast_modelkit.hourly.day_measures import (
    LEVEL_TERMS,
    MEMORY_DAYS,
    TERMS,
    day_measures,
    day_rows,
    market_measures,
)
from tests.unit.modelkit.hourly.hourly_market import invented

COIN = invented(days=200)
FIELDS = ("open", "high", "low", "close", "volume")


def cut(coin: HourlyCandles, **changed: Any) -> HourlyCandles:
    return dataclasses.replace(coin, **changed)


def test_every_term_has_a_value_after_three_weeks_of_hours() -> None:
    own = day_measures(COIN)
    rows = day_rows(own, market_measures({"bitcoin": own}), own.dates)
    assert rows.shape == (200, len(TERMS))
    assert np.isnan(rows[:20]).all() and np.isfinite(rows[30:]).all()


@given(day=st.integers(40, 198), factor=st.floats(0.5, 2.0), hour=st.integers(0, 23))
@settings(max_examples=25, deadline=None)
def test_hours_after_the_close_change_no_row(day: int, factor: float, hour: int) -> None:
    after = day * 24 + hour
    prices = {f: getattr(COIN, f).copy() for f in FIELDS}
    for values in prices.values():
        values[after:] *= factor
    before, changed = day_measures(COIN), day_measures(cut(COIN, **prices))
    for name in ("levels", "shapes"):
        assert np.array_equal(getattr(before, name)[:day], getattr(changed, name)[:day], equal_nan=True)


def test_the_hour_before_the_close_is_read_and_the_hour_after_it_is_not() -> None:
    def row(hour: int) -> np.ndarray:
        high = COIN.high.copy()
        high[100 * 24 + hour] *= 1.05
        return day_measures(cut(COIN, high=high)).levels[100]

    plain = day_measures(COIN).levels[100]
    assert row(23)[0] > plain[0] and row(0)[0] > plain[0]
    assert np.array_equal(row(24), plain)
    assert np.array_equal(row(-1)[:1], plain[:1])  # that hour belongs to the day before


def test_a_border_moved_back_by_an_hour_costs_and_one_moved_forward_looks_ahead() -> None:
    """Moved forward, a day holds the first hour of what is forecast, and seems to know more than it can."""
    errors: dict[int, list[float]] = {-1: [], 0: [], 1: []}
    for seed in range(4):
        coin = invented(days=600, seed=seed)
        ahead = day_measures(coin).levels[:, 0]
        for shift, found in errors.items():
            # A row stamped an hour earlier holds the hour after the true close.
            own = day_measures(dataclasses.replace(coin, first=coin.first - shift * HOUR))
            rows = np.concatenate([own.levels[:, :4], own.shapes[:, :3]], axis=1)
            at = np.searchsorted(own.dates, day_measures(coin).dates)
            known = np.arange(len(ahead) - 1)[60:-2]
            x, y = np.column_stack([rows[at[known]], np.ones(len(known))]), ahead[known + 1]
            half = len(known) // 2
            fitted = np.linalg.lstsq(x[:half], y[:half], rcond=None)[0]
            found.append(float(np.mean((y[half:] - x[half:] @ fitted) ** 2)))
    behind, right, forward = (float(np.mean(errors[s])) for s in (-1, 0, 1))
    assert behind > right > forward


@pytest.mark.parametrize("missing", [5, 23])
def test_a_day_that_lacks_hours_has_no_row(missing: int) -> None:
    prices = {f: getattr(COIN, f).copy() for f in FIELDS}
    for values in prices.values():
        values[100 * 24 + 1 : 100 * 24 + 1 + missing] = np.nan
    own = day_measures(cut(COIN, **prices))
    assert np.isnan(own.levels[100]).all() and np.isnan(own.shapes[100]).all()
    assert np.isfinite(own.levels[103]).all()


def test_fill_ins_of_the_source_are_missing_hours() -> None:
    prices = {f: getattr(COIN, f).copy() for f in FIELDS}
    repeated = slice(100 * 24 + 1, 100 * 24 + 7)
    for f in FIELDS[:4]:
        prices[f][repeated] = prices["close"][100 * 24]
    prices["volume"][repeated] = 0.0
    filled = HourlyCandles.of(
        "bitcoin", COIN.starts, prices["close"], **{f: prices[f] for f in FIELDS if f != "close"}
    )
    assert np.isnan(day_measures(filled).levels[100]).all()


def test_a_few_missing_hours_leave_the_level_where_it_is() -> None:
    prices = {f: getattr(COIN, f).copy() for f in FIELDS}
    for values in prices.values():
        values[100 * 24 + 2 : 100 * 24 + 4] = np.nan
    assert day_measures(cut(COIN, **prices)).levels[100] == pytest.approx(
        day_measures(COIN).levels[100], abs=0.15
    )


def test_the_newest_day_alone_equals_the_row_of_a_long_history() -> None:
    long, short = day_measures(COIN), day_measures(COIN.tail(24 * MEMORY_DAYS))
    assert short.levels[-1] == pytest.approx(long.levels[-1], rel=1e-9)
    assert short.shapes[-1] == pytest.approx(long.shapes[-1], rel=1e-9, abs=1e-9)
    assert short.dates[-1] == long.dates[-1]


def test_a_day_that_has_not_closed_is_not_among_the_days() -> None:
    noon = COIN.tail(len(COIN) - 12)
    open_day = noon.until(COIN.closes_at - np.timedelta64(9, "h"))
    assert day_measures(open_day).dates[-1] == day_measures(COIN).dates[-2]


def test_closes_alone_give_other_levels_and_read_no_range() -> None:
    bare = invented(days=200, ranges=False)
    assert np.array_equal(
        day_measures(COIN, ranges=False).levels, day_measures(bare, ranges=False).levels, equal_nan=True
    )
    assert not np.allclose(day_measures(COIN).levels[50:], day_measures(bare, ranges=False).levels[50:])


def test_hours_without_a_range_are_missing_among_hours_with_one() -> None:
    high = COIN.high.copy()
    high[100 * 24 : 101 * 24] = np.nan
    own = day_measures(cut(COIN, high=high))
    assert np.isnan(own.levels[100]).all()
    assert np.isfinite(day_measures(cut(COIN, high=high), ranges=False).levels[100]).all()


def test_an_absent_market_is_read_from_the_coin_itself() -> None:
    own = day_measures(COIN)
    alone = day_rows(own, market_measures({}), own.dates)
    with_itself = day_rows(own, market_measures({"bitcoin": own}), own.dates)
    assert np.array_equal(alone, with_itself, equal_nan=True)
    assert len(LEVEL_TERMS) == 11


def test_one_wick_is_not_accepted() -> None:
    high = COIN.high.copy()
    high[100 * 24 + 5] *= 40
    corrupted, plain = day_measures(cut(COIN, high=high)), day_measures(COIN)
    assert corrupted.levels[130, 3] == pytest.approx(plain.levels[130, 3], abs=0.02)
    assert corrupted.levels[100, 0] - plain.levels[100, 0] < 2.5
