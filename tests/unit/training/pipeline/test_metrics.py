"""The standard error of a coverage counts periods, not rows; a scaled error has its scale beside it."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_training.pipeline.metrics import coverage_error, measure
from coincast_training.trainers.base import WalkForward


def test_independent_periods_give_the_binomial_error() -> None:
    rng = np.random.default_rng(1)
    inside = rng.random(4000) < 0.8
    error, periods = coverage_error(inside, np.arange(4000))
    assert periods == 4000
    assert error == pytest.approx(100 * np.sqrt(0.16 / 4000), rel=0.1)


def test_coins_that_move_together_and_overlapping_days_add_nothing() -> None:
    rng = np.random.default_rng(2)
    once = rng.random(100) < 0.8
    error, periods = coverage_error(once, np.arange(100))
    many, same = coverage_error(np.repeat(once, 300), np.repeat(np.arange(100), 300))
    assert same == periods == 100
    assert many == pytest.approx(error)


def test_a_miss_that_reaches_into_the_next_period_widens_the_error() -> None:
    alternating = np.tile([True, False], 100)
    paired = np.repeat(np.tile([True, False], 50), 2)
    (lone, _), (pairs, _) = (coverage_error(x, np.arange(200)) for x in (alternating, paired))
    assert lone is not None
    assert pairs is not None
    assert pairs >= lone


def test_too_few_periods_give_a_count_and_no_error() -> None:
    assert coverage_error(np.array([True] * 8), np.repeat([0, 1], 4)) == (None, 2)
    assert coverage_error(np.array([], dtype=np.bool_), np.array([], dtype=np.int64)) == (None, None)


def closes_of(coin_id: str, *prices: float) -> Candles:
    close = np.array(prices)
    dates = np.datetime64("2025-01-01") + np.arange(len(close)).astype("timedelta64[D]")
    return Candles(
        coin_id=coin_id,
        dates=dates,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=np.ones(len(close)),
    )


def test_the_scale_of_a_scaled_error_is_that_of_the_last_price() -> None:
    """Two coins with steps of 1 and 100 before the test; both forecasts miss by half of the actual move."""
    panel = {"small": closes_of("small", 10, 11, 10, 12), "large": closes_of("large", 1000, 1100, 1000, 1400)}
    last = np.array([10.0, 1000.0])
    actual = np.log(np.array([12.0, 1400.0]) / last)
    median = np.log(np.array([11.0, 1200.0]) / last)
    forecast = WalkForward(
        coin_ids=np.array(["small", "large"]),
        origins=np.array(["2025-01-03"] * 2, dtype="datetime64[D]"),
        horizons=np.array([1, 1]),
        last_prices=last,
        probabilities=np.array([0.025, 0.1, 0.5, 0.9, 0.975]),
        log_return_quantiles=median[:, None] + np.array([-0.2, -0.1, 0.0, 0.1, 0.2]),
        actual_log_returns=actual,
    )
    [horizon] = measure(forecast, panel, measured_at=0.0).horizons
    # Errors of 1 over a step of 1 and of 200 over a step of 100; those of the last price are twice as large.
    assert horizon.mase == pytest.approx(1.5)
    assert horizon.random_walk_mase == pytest.approx(3.0)
    assert horizon.scaled_mase == horizon.mase
