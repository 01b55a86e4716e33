"""The standard error of a coverage counts periods, not rows."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_training.pipeline.metrics import coverage_error


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
