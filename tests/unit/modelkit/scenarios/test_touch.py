"""Touch probabilities: counted on paths with highs and lows, growing with time and shrinking with
distance.
"""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.scenarios import simulate_paths, touch_probabilities
from tests.unit.modelkit.scenarios.scenario_market import COINS, START, forecasts_on, library_of, market

PANEL = market()
DAY = START + np.timedelta64(699, "D")
PATHS = simulate_paths(library_of(PANEL).window(DAY), forecasts_on(PANEL, COINS, DAY), 14)


@pytest.mark.parametrize("percent", [-30, -10, -5, -1, 1, 5, 10, 30])
def test_touches_grow_with_time_and_hold_the_closes(percent: float) -> None:
    found = touch_probabilities(PATHS, "bitcoin", np.log1p(percent / 100))
    assert np.all(np.diff(found.touch) >= 0)
    assert np.all(found.touch >= found.close_beyond)
    level = np.log1p(percent / 100)
    sign = 1 if percent > 0 else -1
    ever = [(sign * PATHS.closes[0, :h] >= sign * level).any(axis=0).mean() for h in range(1, 15)]
    assert np.all(found.touch >= np.array(ever) - 1e-12)


@pytest.mark.parametrize("sign", [-1, 1])
def test_farther_levels_are_touched_less(sign: int) -> None:
    levels = [touch_probabilities(PATHS, "ethereum", sign * x).touch for x in (0.01, 0.03, 0.1, 0.3)]
    assert np.all(np.diff(np.stack(levels), axis=0) <= 0)


def test_up_is_counted_on_highs_and_down_on_lows() -> None:
    up, down = (touch_probabilities(PATHS, "solana", x).touch for x in (0.05, -0.05))
    high, low = PATHS.highs[2], PATHS.lows[2]
    assert up[2] == pytest.approx((high[:3].max(axis=0) >= 0.05).mean())
    assert down[2] == pytest.approx((low[:3].min(axis=0) <= -0.05).mean())


def test_a_level_at_the_price_is_touched_already() -> None:
    assert touch_probabilities(PATHS, "bitcoin", 0.0).touch.tolist() == [1.0] * 14


@pytest.mark.parametrize("level", [float("nan"), float("inf"), float("-inf")])
def test_a_level_that_is_no_price_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="finite price"):
        touch_probabilities(PATHS, "bitcoin", level)
