"""The level of a model's widths: how it is measured, and what it does to a forecast."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from coincast_modelkit.artifact import read_artifact
from coincast_modelkit.features import market_of
from coincast_modelkit.forecasts import PROBABILITIES, expected_sizes
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models import MODELS
from coincast_modelkit.models.level import (
    MAX_LOG_FACTOR,
    LevelAdjustable,
    level_of,
)
from coincast_training.starter.build import simulated_candles
from coincast_training.starter.install import STARTER_DIR, STARTER_MODELS, STARTER_VERSION

LEVEL = {1: np.log(1.1), 7: np.log(0.8), 30: np.log(1.25)}


@pytest.fixture(params=STARTER_MODELS)
def model(request: pytest.FixtureRequest) -> LevelAdjustable:
    return cast("LevelAdjustable", read_artifact(STARTER_DIR, request.param, STARTER_VERSION).model)


def test_widths_and_volatility_move_by_the_factor_at_the_anchors_and_smoothly_between(
    model: LevelAdjustable,
) -> None:
    coin = prepare(simulated_candles("new-coin", 3, 365), market_of({}), model.spec)
    horizons = [1, 2, 7, 30]
    plain = model.predict([coin], horizons)
    moved = model.with_level(LEVEL).predict([coin], horizons)
    spread, wider = (
        f.log_return_quantiles[0, :, -1] - f.log_return_quantiles[0, :, 0] for f in (plain, moved)
    )
    ratio = wider / spread
    np.testing.assert_allclose(ratio[[0, 2, 3]], [1.1, 0.8, 1.25], rtol=1e-6)
    assert 0.8 < ratio[1] < 1.1
    np.testing.assert_allclose(moved.volatility[0], plain.volatility[0] * ratio, rtol=1e-6)
    chances = moved.rise_of_volatility[0] - plain.rise_of_volatility[0]
    assert chances[0] > 0 > chances[2]


def test_a_level_is_replaced_not_added_to_and_none_is_the_model_itself(model: LevelAdjustable) -> None:
    coin = prepare(simulated_candles("new-coin", 3, 365), market_of({}), model.spec)
    plain = model.predict([coin], [7]).log_return_quantiles
    twice = model.with_level(LEVEL).with_level(LEVEL).predict([coin], [7]).log_return_quantiles
    np.testing.assert_array_equal(twice, model.with_level(LEVEL).predict([coin], [7]).log_return_quantiles)
    back = model.with_level(LEVEL).with_level({})
    np.testing.assert_array_equal(back.predict([coin], [7]).log_return_quantiles, plain)


def test_a_level_is_saved_with_the_model(model: LevelAdjustable, tmp_path: Path) -> None:
    model.with_level(LEVEL).save(tmp_path)
    again = cast("LevelAdjustable", MODELS[model.name].load(tmp_path))
    assert again.level == pytest.approx(LEVEL)


@pytest.mark.parametrize(
    "level",
    [{2: 0.1}, {1: 1.01 * MAX_LOG_FACTOR}, {1: float("nan")}, {1: float("inf")}],
    ids=["no anchor", "too large", "nan", "infinite"],
)
def test_a_level_that_cannot_be_is_refused(model: LevelAdjustable, level: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="level"):
        model.with_level(level)


@pytest.mark.parametrize(
    ("outcome_factor", "horizon", "days", "expected"),
    [
        (1.0, 1, 365, 0.0),
        (1.5, 1, 365, np.log(1.5) * 365 / 375),
        (0.7, 7, 350, np.log(0.7) * 50 / 60),
        (0.7, 30, 300, np.log(0.7) * 10 / 20),
        (9.0, 1, 3650, MAX_LOG_FACTOR),
        (0.0, 1, 365, 0.0),
    ],
    ids=["right", "wider", "narrower", "few outcomes", "broken outcomes", "a constant price"],
)
def test_the_level_is_that_of_the_outcomes_shrunk_where_they_are_few(
    outcome_factor: float, horizon: int, days: int, expected: float
) -> None:
    widths = np.array([0.01, 0.05, 0.02, 0.03])
    found = level_of(widths, outcome_factor * widths, horizon=horizon, days=days)
    assert found == pytest.approx(expected, abs=1e-12)


def test_forecasts_without_outcome_or_width_do_not_count() -> None:
    widths = np.array([0.01, np.nan, 0.02, 0.0])
    outcomes = np.array([0.02, 0.5, np.nan, 0.4])
    alone = level_of(widths[:1], outcomes[:1], horizon=1, days=200)
    assert level_of(widths, outcomes, horizon=1, days=200) == alone != 0
    assert level_of(widths[1:], outcomes[1:], horizon=1, days=200) == 0


def test_the_expected_size_is_that_of_the_distribution() -> None:
    uniform = 2 * PROBABILITIES - 1
    assert expected_sizes(uniform) == pytest.approx(0.5, abs=1e-3)
    assert expected_sizes(np.stack([uniform, 3 * uniform])) == pytest.approx([0.5, 1.5], abs=3e-3)
