"""Splits and targets: purged, in order, never a day of the future."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_modelkit.splits import walk_forward
from coincast_modelkit.targets import log_returns_ahead, log_volatility_ahead
from coincast_modelkit.volatility import daily_variance
from tests.unit.modelkit.modelkit_candles import simulated, without

DAY0 = np.datetime64("2020-01-01", "D")


@pytest.mark.slow
@given(
    days=st.integers(40, 900),
    start=st.floats(0.1, 0.9),
    step=st.integers(1, 120),
    horizon=st.integers(1, 30),
    rolling=st.none() | st.integers(30, 400),
)
def test_no_training_target_reaches_into_the_test(
    days: int, start: float, step: int, horizon: int, rolling: int | None
) -> None:
    last = DAY0 + np.timedelta64(days - 1, "D")
    begin = DAY0 + np.timedelta64(int(days * start), "D")
    origins = np.arange(DAY0, last + np.timedelta64(1, "D"))
    folds = list(walk_forward(DAY0, begin, last, step_days=step, embargo_days=horizon, rolling_days=rolling))
    tested: list[np.datetime64] = []
    for fold in folds:
        train, test = origins[fold.train_mask(origins, horizon)], origins[fold.test_mask(origins)]
        assert train.size
        assert test.size <= step
        assert train.max() + np.timedelta64(horizon, "D") < test.min()
        assert train.max() <= fold.train_to
        if rolling is not None:
            assert train.size <= rolling
        tested.extend(test)
    assert len(tested) == len(set(tested))
    assert tested == sorted(tested)
    if folds:
        assert tested[-1] == last
        np.testing.assert_array_equal(
            np.array(tested), np.arange(folds[0].test_from, last + np.timedelta64(1, "D"))
        )


def test_nonsense_is_refused() -> None:
    for wrong in ({"step_days": 0, "embargo_days": 1}, {"step_days": 1, "embargo_days": -1}):
        with pytest.raises(ValueError, match="at least"):
            list(walk_forward(DAY0, DAY0 + np.timedelta64(10, "D"), DAY0 + np.timedelta64(20, "D"), **wrong))


@given(days=st.integers(2, 80), seed=st.integers(0, 1000), horizon=st.integers(1, 30))
def test_returns_ahead_are_what_came(days: int, seed: int, horizon: int) -> None:
    coin = simulated("coin", days, seed)
    ahead = log_returns_ahead(coin, [horizon])[:, 0]
    for i in range(days):
        if i + horizon < days:
            assert ahead[i] == pytest.approx(np.log(coin.close[i + horizon] / coin.close[i]))
        else:
            assert np.isnan(ahead[i])


@given(days=st.integers(40, 80), seed=st.integers(0, 1000), horizon=st.integers(1, 30), ranges=st.booleans())
def test_volatility_ahead_holds_the_coming_days_only(
    days: int, seed: int, horizon: int, ranges: bool
) -> None:
    coin = simulated("coin", days, seed)
    coin = coin if ranges else without(coin, "high", "low")
    ahead, variance = log_volatility_ahead(coin, [horizon])[:, 0], daily_variance(coin)
    assert np.isnan(ahead[days - horizon :]).all()
    for i in (0, 5, days - horizon - 1):
        assert ahead[i] == pytest.approx(0.5 * np.log(variance[i + 1 : i + horizon + 1].mean()), abs=1e-6)
