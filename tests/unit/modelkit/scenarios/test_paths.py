"""Joint paths: their marginals are the forecasts, and their order is that of the past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_modelkit.scenarios import simulate_paths
from tests.unit.modelkit.scenarios.scenario_market import COINS, START, forecasts_on, library_of, market

PANEL = market()
LIBRARY = library_of(PANEL)


@settings(max_examples=40, deadline=None)
@given(
    day=st.integers(560, 699), days=st.integers(1, 14), origins=st.integers(100, 500), seed=st.integers(0, 99)
)
def test_at_every_horizon_the_marginal_is_the_forecast(day: int, days: int, origins: int, seed: int) -> None:
    at = START + np.timedelta64(day, "D")
    made = forecasts_on(PANEL, COINS, at)
    rng = np.random.default_rng(seed)
    width, shift = rng.uniform(0.5, 2.0, (len(COINS), 14, 1)), rng.normal(0, 0.02, (len(COINS), 14, 1))
    made = replace(made, log_return_quantiles=made.log_return_quantiles * width + shift)
    paths = simulate_paths(LIBRARY.window(at, origins), made, days)
    levels = (np.arange(len(paths)) + 0.5) / len(paths)
    expected = made.quantile_log_returns(levels)[:, :days]
    np.testing.assert_array_equal(np.sort(paths.closes, axis=2), expected)
    before = np.concatenate([np.zeros((4, 1, len(paths))), paths.closes[:, :-1]], axis=1)
    assert np.all(paths.highs >= np.maximum(paths.closes, before))
    assert np.all(paths.lows <= np.minimum(paths.closes, before))


def test_paths_fall_together_as_the_past_did() -> None:
    day = START + np.timedelta64(699, "D")
    window = LIBRARY.window(day)
    paths = simulate_paths(window, forecasts_on(PANEL, COINS, day), 14)
    for coin in range(4):
        for horizon in (0, 6, 13):
            past = window.moves.closes[:, coin, horizon]
            assert np.array_equal(np.argsort(past, kind="stable"), np.argsort(paths.closes[coin, horizon]))


def test_the_same_question_has_the_same_answer_in_any_order_of_coins() -> None:
    day = START + np.timedelta64(699, "D")
    first = simulate_paths(LIBRARY.window(day), forecasts_on(PANEL, COINS, day), 7)
    turned = simulate_paths(LIBRARY.window(day), forecasts_on(PANEL, COINS[::-1], day), 7)
    np.testing.assert_array_equal(first.closes, turned.closes[::-1])
    np.testing.assert_array_equal(first.highs, turned.highs[::-1])


def test_fewer_paths_are_spread_over_the_origins() -> None:
    day = START + np.timedelta64(699, "D")
    paths = simulate_paths(LIBRARY.window(day), forecasts_on(PANEL, COINS, day), 7)
    few = paths.spread(50)
    assert len(few) == 50
    assert few.origins[0] == paths.origins[0]
    assert few.origins[-1] == paths.origins[-1]
    assert paths.spread(10_000) is paths


@pytest.mark.parametrize("days", [0, 15])
def test_days_out_of_range_are_refused(days: int) -> None:
    day = START + np.timedelta64(699, "D")
    with pytest.raises(ValueError, match="days must be 1 to 14"):
        simulate_paths(LIBRARY.window(day), forecasts_on(PANEL, COINS, day), days)


def test_a_coin_without_a_distribution_is_named() -> None:
    day = START + np.timedelta64(699, "D")
    made = forecasts_on(PANEL, COINS, day)
    broken = made.log_return_quantiles.copy()
    broken[2] = np.nan
    with pytest.raises(ValueError, match="solana"):
        simulate_paths(LIBRARY.window(day), replace(made, log_return_quantiles=broken), 7)
