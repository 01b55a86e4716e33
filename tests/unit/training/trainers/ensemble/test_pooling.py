"""The pool's sizes: the middle from all years, the tail at short horizons from the newer ones."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.models.ensemble.model import LEVELS
from coincast_training.trainers.ensemble.pooling import PoolHistory, PoolParams, fit_pool

CUT = 20_000
AT_80, AT_99 = (int(np.argmin(np.abs(LEVELS - level))) for level in (0.8, 0.99))
NEVER = PoolParams(tail_periods=1e9)


def calmer_history(rows: int = 12_000, *, years: int = 6) -> PoolHistory:
    """Returns of scale 0.02 with a heavy tail in the older half of the years, and a normal one since."""
    rng = np.random.default_rng(8)
    day = np.sort(rng.integers(CUT - 365 * years, CUT - 30, rows))
    heavy = rng.standard_t(2.5, rows)
    normal = rng.standard_normal(rows)
    # Both have the same 80 % interval, so only the tails differ.
    heavy *= np.quantile(np.abs(normal), 0.8) / np.quantile(np.abs(heavy), 0.8)
    returns = 0.02 * np.where(day < CUT - 365 * years / 2, heavy, normal)
    return PoolHistory(
        members=np.full((rows, 2), np.log(0.02)),
        returns=returns,
        log_volatility=np.full(rows, np.log(0.02)),
        regime=rng.integers(0, 3, rows),
        weekend=np.zeros(rows, dtype=np.int64),
        day=day,
        outlook=np.full(rows, np.log(0.02)),
        random_sign_returns=np.empty((rows, 0)),
    )


def sizes(history: PoolHistory, horizon: int, params: PoolParams) -> np.ndarray:
    return fit_pool(history, horizon, CUT, params, np.array([0.5, 0.5])).sizes


def test_the_tail_at_one_day_follows_the_newer_outcomes_of_all_regimes() -> None:
    history = calmer_history()
    before, now = sizes(history, 1, NEVER), sizes(history, 1, PoolParams())
    np.testing.assert_array_equal(now[:, : AT_80 + 1], before[:, : AT_80 + 1])
    normal = 2.576 / 1.282
    assert (before[:, AT_99] / before[:, AT_80] > 1.2 * normal).all()
    assert now[:, AT_99] / now[:, AT_80] == pytest.approx(normal, rel=0.08)


@pytest.mark.parametrize("horizon", [5, 7, 30])
def test_the_tail_at_long_horizons_follows_all_years(horizon: int) -> None:
    history = calmer_history()
    np.testing.assert_array_equal(sizes(history, horizon, PoolParams()), sizes(history, horizon, NEVER))


def test_few_outcomes_leave_the_tail_nearer_to_that_of_all_years() -> None:
    few, many = calmer_history(400), calmer_history()

    def moved(history: PoolHistory) -> float:
        before, now = sizes(history, 1, NEVER)[:, AT_99], sizes(history, 1, PoolParams())[:, AT_99]
        newer = sizes(history, 1, PoolParams(size_prior_days=0.0))[:, AT_99]
        whole = np.abs(newer - before).mean()
        return float(np.abs(now - before).mean() / whole)

    assert moved(few) < 0.6
    assert moved(many) > 0.8


def test_outcomes_without_spread_keep_their_sizes() -> None:
    history = calmer_history(500)
    still = PoolHistory(
        members=history.members,
        returns=np.zeros(500),
        log_volatility=history.log_volatility,
        regime=history.regime,
        weekend=history.weekend,
        day=history.day,
        outlook=history.outlook,
        random_sign_returns=history.random_sign_returns,
    )
    assert (sizes(still, 1, PoolParams()) == 0).all()
