"""Ratios of daily returns, against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coincast_training.performance import annual_return, max_drawdown, sharpe_ratio, sortino_ratio


def test_ratios_of_a_gain_and_a_loss() -> None:
    returns = np.array([0.03, -0.01])
    # Mean 0.01; sample deviation 0.02 * sqrt(2); root mean square of the losses 0.01 / sqrt(2).
    assert sharpe_ratio(returns) == pytest.approx(0.01 / (0.02 * math.sqrt(2)) * math.sqrt(365))
    assert sortino_ratio(returns) == pytest.approx(math.sqrt(2) * math.sqrt(365))


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ([], 0.0),
        ([0.1, 0.2], 0.0),
        ([-0.5], -0.5),  # the first day's loss counts
        ([1.0, -0.5, 0.5, -0.4], 1.0 * 0.5 * 1.5 * 0.6 - 1.0),
        ([0.1, -1.0, 0.5], -1.0),
    ],
)
def test_drawdown_is_the_largest_fall_from_an_earlier_top(returns: list[float], expected: float) -> None:
    assert max_drawdown(np.array(returns, dtype=float)) == pytest.approx(expected)


def test_growth_compounds_to_the_final_value() -> None:
    assert annual_return(np.full(730, 0.001)) == pytest.approx(1.001**365 - 1)
    assert annual_return(np.array([0.1, -1.0])) == -1.0


@pytest.mark.parametrize("returns", [[], [0.01], [0.01, 0.01, 0.01], [0.0, 0.0]])
def test_a_ratio_without_risk_is_unknown(returns: list[float]) -> None:
    values = np.array(returns, dtype=float)
    assert math.isnan(sharpe_ratio(values))
    assert math.isnan(sortino_ratio(values))
