"""Terms of the hourly line: nothing of the future, nothing invented in gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.features import (
    SPANS,
    TERMS,
    CoinTerms,
    design,
    reference_spans,
    volatility_spans,
)
from coincast_modelkit.hourly.regimes import hourly_regimes, newest_regime

RNG = np.random.default_rng(5)
LEVEL = np.exp(RNG.normal(size=1200)) * 1e-5
CLOSE = np.cumsum(0.003 * RNG.normal(size=1200))


@given(row=st.integers(30, 1198), corrupted=st.floats(1e-9, 1e-1))
@settings(max_examples=40, deadline=None)
def test_later_hours_change_no_row(row: int, corrupted: float) -> None:
    level, close = LEVEL.copy(), CLOSE.copy()
    level[row + 1 :], close[row + 1 :] = corrupted, corrupted
    before, after = CoinTerms.of(LEVEL, CLOSE), CoinTerms.of(level, close)
    assert np.array_equal(before.spans[: row + 1], after.spans[: row + 1], equal_nan=True)
    assert np.array_equal(before.leverage[: row + 1], after.leverage[: row + 1], equal_nan=True)
    assert np.array_equal(
        hourly_regimes(before.spans[:, 4])[: row + 1], hourly_regimes(after.spans[:, 4])[: row + 1]
    )


def test_newest_row_alone_equals_the_row_of_the_table() -> None:
    table, newest = CoinTerms.of(LEVEL, CLOSE), CoinTerms.of(LEVEL, CLOSE, last=1)
    assert newest.spans[0] == pytest.approx(table.spans[-1])
    assert newest.leverage[0] == pytest.approx(table.leverage[-1])


def test_newest_regime_equals_that_of_the_table() -> None:
    level = np.random.default_rng(2).normal(size=24 * 100)
    assert [newest_regime(level[:n]) for n in (800, 1500, 2400)] == hourly_regimes(level)[
        [799, 1499, 2399]
    ].tolist()


def test_missing_hour_is_read_from_the_next_longer_span() -> None:
    level = LEVEL.copy()
    level[-1] = np.nan
    newest = volatility_spans(level)[-1]
    six_hours = SPANS.index(6)
    assert newest[:six_hours] == pytest.approx(newest[six_hours])
    assert np.isfinite(newest).all()


def test_short_history_reads_long_spans_from_shorter_ones() -> None:
    newest = volatility_spans(LEVEL[:40])[-1]
    assert np.isfinite(newest).all()
    assert newest[SPANS.index(720)] == newest[SPANS.index(24)]


def test_day_with_a_fifth_of_its_hours_missing_has_no_row() -> None:
    level = LEVEL.copy()
    level[-10:-5] = np.nan
    assert np.isnan(volatility_spans(level)[-1]).all()
    level[-10] = 1e-5
    assert np.isfinite(volatility_spans(level)[-1]).all()


def test_absent_market_is_read_from_the_coin() -> None:
    own = CoinTerms.of(LEVEL, CLOSE, last=1)
    nothing = np.full((1, 4), np.nan)
    row = dict(zip(TERMS, design(own, nothing, nothing)[0], strict=True))
    for span in (1, 6, 24, 168):
        assert (
            row[f"leader_volatility_{span}h"]
            == row[f"market_volatility_{span}h"]
            == row[f"volatility_{span}h"]
        )


def test_market_is_the_mean_and_bitcoin_leads() -> None:
    spans = {"bitcoin": np.full((2, 8), -5.0), "ethereum": np.full((2, 8), -4.0)}
    leader, market = reference_spans(spans)
    assert np.all(leader == -5.0)
    assert np.all(market == -4.5)
    assert np.all(reference_spans({"ethereum": spans["ethereum"]})[0] == -4.0)


def test_only_falls_count_as_leverage() -> None:
    steps = np.arange(1200, dtype=np.float64) * 0.01
    rising: Floats = np.asarray(steps)
    falling: Floats = np.asarray(-steps)
    assert np.all(CoinTerms.of(LEVEL, rising, last=1).leverage == 0)
    assert np.all(CoinTerms.of(LEVEL, falling, last=1).leverage < 0)
