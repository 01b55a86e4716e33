"""Portfolio risk: parts that sum to the whole, and tails that the past is too thin for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_modelkit.scenarios import JointPaths, assess_portfolio, simulate_paths, tail_support
from coincast_modelkit.scenarios.portfolio import tail_weights, value_at_risk
from tests.unit.modelkit.scenarios.scenario_market import COINS, START, forecasts_on, library_of, market

PANEL = market()
DAY = START + np.timedelta64(699, "D")
PATHS = simulate_paths(library_of(PANEL).window(DAY), forecasts_on(PANEL, COINS, DAY), 14)


def plain_paths(closes: np.ndarray, origins: np.ndarray) -> JointPaths:
    n = len(closes)
    return JointPaths(
        coin_ids=tuple(COINS[:n]),
        last_price=np.ones(n),
        origins=origins,
        closes=closes,
        highs=np.maximum(closes, 0),
        lows=np.minimum(closes, 0),
        borrowed_share=np.zeros(n),
        ranged=np.ones(n, dtype=bool),
    )


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1), min_size=4, max_size=4),
    days=st.integers(1, 14),
    level=st.floats(50, 97.9),
)
def test_components_sum_to_the_expected_shortfall(values: list[float], days: int, level: float) -> None:
    found = assess_portfolio(PATHS, dict(zip(COINS, values, strict=True)), days, (level,))
    tail = found.levels[0]
    if tail.refused:
        assert tail.expected_shortfall is None
        return
    assert tail.expected_shortfall is not None
    gross = sum(abs(v) for v in values)
    assert abs(sum(tail.components) - tail.expected_shortfall) <= 1e-12 * gross
    assert tail.value_at_risk is not None
    # Hazen's quantile lies between two scenarios, so the mean beyond it may be less by half a step.
    assert tail.expected_shortfall >= tail.value_at_risk - 1e-3 * gross
    assert found.diversification_percent is not None
    assert found.diversification_percent > -1e-9


def test_figures_against_a_direct_count() -> None:
    rng = np.random.default_rng(0)
    closes = rng.normal(0, 0.05, (2, 1, 1000))
    paths = plain_paths(closes, START + np.arange(1000) * 3)
    found = assess_portfolio(paths, {"bitcoin": 600.0, "ethereum": -400.0}, 1)
    changes = 600 * (np.exp(closes[0, 0]) - 1) - 400 * (np.exp(closes[1, 0]) - 1)
    by_size = np.sort(changes)
    for tail, m in zip(found.levels, (100, 50, 25, 10), strict=True):
        assert tail.expected_shortfall == pytest.approx(-by_size[:m].mean(), rel=1e-12)
        # Hazen: the m-th and the next one share the border.
        assert tail.value_at_risk == pytest.approx(-(by_size[m - 1] + by_size[m]) / 2, rel=1e-12)
        assert tail.tail_scenarios == m
    assert [c for _, c in found.worst] == pytest.approx(by_size[:5])


def test_the_worst_scenarios_name_the_days_they_begin_on() -> None:
    closes = np.zeros((1, 1, 200))
    closes[0, 0, 77] = -0.5
    paths = plain_paths(closes, START + np.arange(200))
    found = assess_portfolio(paths, {"bitcoin": 100.0}, 1, (90.0,))
    assert found.worst[0][0] == (START + np.timedelta64(77, "D")).astype(object)
    assert found.worst[0][1] == pytest.approx(100 * (np.exp(-0.5) - 1))


@pytest.mark.parametrize(
    ("level", "count", "coins", "days", "gap", "said", "why"),
    [
        (99.0, 1000, 2, 1, 8, True, ""),
        (99.0, 999, 2, 1, 8, False, "Only 9 past scenarios"),
        (99.0, 1000, 2, 1, 1, False, "separate"),
        (99.0, 1000, 2, 7, 14, False, "separate"),
        (99.0, 1000, 2, 7, 15, True, ""),
        (99.5, 5000, 2, 1, 30, False, "beyond 99 %"),
        (99.9, 20000, 2, 1, 30, False, "beyond 99 %"),
        (99.5, 1000, 1, 1, 1, True, ""),
        (99.5, 1000, 1, 7, 1, False, "beyond 99 %"),
        (99.9, 20000, 1, 1, 30, False, "beyond 99.5 %"),
        (95.0, 150, 2, 1, 30, False, "Only 7 past scenarios"),
    ],
)
def test_which_tails_are_said(
    *, level: float, count: int, coins: int, days: int, gap: int, said: bool, why: str
) -> None:
    """The worst scenarios lie `gap` days apart: beyond 7 at one day and 14 at seven they are episodes."""
    closes = np.zeros((coins, days, count))
    worst = np.arange(max(1, round(count * (1 - level / 100))))
    closes[:, :, worst] = -0.2
    origins = START + np.concatenate([worst * gap, worst[-1] * gap + 100 + np.arange(count - len(worst))])
    holdings = dict.fromkeys(COINS[:coins], 100.0)
    tail = assess_portfolio(plain_paths(closes, origins), holdings, days, (90.0, level)).levels[1]
    assert (tail.value_at_risk is not None) == said
    assert why in tail.refused
    if not said:
        assert tail.refused.endswith(("The highest level with an estimate is 90 %.", "or fewer days."))
    assert tail.indicative == (said and days > 1)


def test_a_loss_at_99_percent_says_how_sure_history_is() -> None:
    closes = np.random.default_rng(1).normal(0, 0.05, (2, 7, 1000))
    paths = plain_paths(closes, START + np.arange(1000) * 20)
    for days, error in ((1, 10.0), (7, 13.0)):
        tail = assess_portfolio(paths, {"bitcoin": 1.0, "ethereum": 1.0}, days, (99.0,)).levels[0]
        assert tail.relative_error_percent == error


@pytest.mark.parametrize(
    ("days", "gap", "episodes"), [(1, 7, 1), (1, 8, 10), (7, 14, 1), (7, 15, 10), (14, 28, 1)]
)
def test_episodes_are_days_with_a_gap_between(days: int, gap: int, episodes: int) -> None:
    assert tail_support(START + np.arange(10) * gap, days) == episodes


def test_a_tail_may_hold_part_of_a_scenario() -> None:
    weights = tail_weights(150, 97.5)
    assert len(weights) == 4
    assert weights.sum() == pytest.approx(1.0)
    assert weights[-1] == pytest.approx(0.75 / 3.75)


def test_value_at_risk_is_hazens_quantile() -> None:
    assert value_at_risk(np.arange(1, 101, dtype=np.float64), 90) == pytest.approx(-10.5)


@pytest.mark.parametrize(
    ("holdings", "days", "levels", "text"),
    [
        ({}, 1, (95.0,), "at least one holding"),
        ({"bitcoin": 1.0}, 0, (95.0,), "days must be 1 to 14"),
        ({"bitcoin": 1.0}, 15, (95.0,), "days must be 1 to 14"),
        ({"bitcoin": 1.0}, 1, (100.0,), "levels must be from 50"),
        ({"nocoin": 1.0}, 1, (95.0,), "not in tuple"),
    ],
)
def test_wrong_questions_are_refused(
    holdings: dict[str, float], days: int, levels: tuple[float, ...], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        assess_portfolio(PATHS, holdings, days, levels)
