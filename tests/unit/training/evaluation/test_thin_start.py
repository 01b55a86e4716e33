"""The evaluation on inputs as thin as a free plan's."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.hourly.candles import CLOSES, RANGES, hours_until, source_of
from coincast_training.evaluation.thin_start import (
    CLOSE_DAYS,
    RANGE_DAYS,
    ThinOptions,
    evaluate_thin,
    table,
    thin,
    thin_hours,
    thin_panel,
)
from coincast_training.starter.build import simulated_candles
from coincast_training.starter.hourly import simulated_hours

DAYS = 700
PANEL = {coin: simulated_candles(coin, seed, DAYS) for seed, coin in enumerate(("bitcoin", "ethereum"))}
QUICK = {
    "lightgbm": {
        "walk_forward": False,
        "volatility": {"rounds": 5},
        "mean": {"rounds": 5},
    }
}


def test_thin_inputs_hold_what_a_free_plan_shows() -> None:
    candles = PANEL["bitcoin"]
    day = candles.dates[600]
    seen = thin(candles, day)
    assert len(seen) == CLOSE_DAYS
    assert seen.dates[-1] == day
    np.testing.assert_array_equal(seen.close, candles.until(day).tail(CLOSE_DAYS).close)
    assert np.isnan(seen.open).all()
    for figure in (seen.high, seen.low):
        assert np.isnan(figure[:-RANGE_DAYS]).all()
        assert np.isfinite(figure[-RANGE_DAYS:]).all()


def test_nothing_after_the_day_is_seen() -> None:
    day = PANEL["bitcoin"].dates[500]
    changed = {c: x.rows(0, 501) for c, x in PANEL.items()}
    for coin_id, seen in thin_panel(PANEL, day).items():
        np.testing.assert_array_equal(seen.close, thin_panel(changed, day)[coin_id].close)


def test_a_coin_with_too_few_days_waits() -> None:
    assert thin_panel(PANEL, PANEL["bitcoin"].dates[50]) == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_models_are_compared_on_the_same_forecasts() -> None:
    dates = PANEL["bitcoin"].dates
    options = ThinOptions(
        first=dates[560],
        last=dates[680],
        models=("lightgbm",),
        horizons=(1, 7),
        refit_days=80,
        every_days=10,
        recipes=QUICK,
    )
    stages: list[str] = []
    found = evaluate_thin(PANEL, options, lambda _, stage: stages.append(stage))
    by_horizon = found["models"]["lightgbm"]
    assert set(by_horizon) == {"1", "7"}
    assert by_horizon["1"]["forecasts"] == 2 * 13
    for entry in by_horizon.values():
        for other in ("thin", "full"):
            low, high = entry[f"over_{other}_interval"]
            assert low <= entry[f"starter_over_{other}_percent"] <= high
        for side in ("starter", "starter_uncorrected", "thin", "full"):
            assert 0 <= entry[f"{side}_coverage_80_percent"] <= 100
    assert sum("training lightgbm on the history" in stage for stage in stages) == 2
    assert table(found).count("\n") == 9


def test_models_that_read_hours_get_closes_alone_where_inputs_are_thin() -> None:
    hours = {"bitcoin": simulated_hours("bitcoin", 1)}
    thin_ones = thin_hours(hours)["bitcoin"]
    assert source_of(hours["bitcoin"]) == RANGES
    assert source_of(thin_ones) == CLOSES
    np.testing.assert_array_equal(thin_ones.close, hours["bitcoin"].close)
    day = hours["bitcoin"].first.astype("datetime64[D]") + np.timedelta64(30, "D")
    known = hours_until(hours, day)["bitcoin"]
    assert known.closes_at == np.datetime64(day + np.timedelta64(1, "D"), "h")
    assert hours_until(hours, day - np.timedelta64(40, "D")) == {}
