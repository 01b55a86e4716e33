"""No forecast of the walk sees a later day, and the parts of the walk are what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_modelkit.features import Market
from coincast_training.evaluation.baselines.direction import walk_mean
from coincast_training.evaluation.baselines.garch import Parameters, walk_garch
from coincast_training.evaluation.baselines.har import walk_har
from coincast_training.evaluation.baselines.reference_models import walk_mlforecast, walk_statsforecast
from coincast_training.evaluation.baselines.simple import walk_simple
from coincast_training.evaluation.options import EvaluationPlan
from coincast_training.evaluation.own_models import prepared_on, walk_model, walk_unseen
from coincast_training.evaluation.rows import Rows
from coincast_training.trainers.registry import find_fit
from tests.unit.training.evaluation_candles import SMALL_NETWORK, SMALL_TREES, panel, scrambled_after

FIRST, LAST = np.datetime64("2021-09-15", "D"), np.datetime64("2021-10-20", "D")
PLAN = EvaluationPlan(first=FIRST, last=LAST, models=(), seed=1, horizons=(1, 7), refit_days=25)
# The candles after this day are scrambled.
DAY = FIRST + np.timedelta64(30, "D")
# One fit a few days before the change: the targets that must be left out reach beyond it.
LATE_PLAN = replace(PLAN, first=DAY - np.timedelta64(5, "D"), last=DAY)
# The reference models forecast on every eighth day: here on the day of the change and the one before it.
REFERENCE_PLAN = replace(PLAN, first=DAY - np.timedelta64(8, "D"), last=DAY)
Walk = Callable[[dict[str, Candles]], Rows]


def silent(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


ENSEMBLE = {"trees": SMALL_TREES, "fold_days": 25, "lstm": "off"}


def ensemble(candles: dict[str, Candles]) -> Rows:
    return walk_model("ml_ensemble", candles, LATE_PLAN, silent, ENSEMBLE)


def trees(candles: dict[str, Candles]) -> Rows:
    few = {"rounds": 8, "min_data_in_leaf": 40}
    params = {"folds": 2, "volatility": few, "mean": few}
    return walk_model("lightgbm", candles, LATE_PLAN, silent, params)


def network(candles: dict[str, Candles]) -> Rows:
    return walk_model("lstm", candles, LATE_PLAN, silent, {**SMALL_NETWORK, "folds": 1})


def ensemble_with_rnn(candles: dict[str, Candles]) -> Rows:
    # Two networks: one whose forecasts the pool is fitted on, and one fitted a few days before the change.
    lstm = {"use": "on", "min_days": 120, "every_days": 150, "passes": 4, "network": SMALL_NETWORK}
    params = {"trees": SMALL_TREES, "fold_days": 25, "lstm": {**lstm, "refit": False}}
    return walk_model("ml_ensemble", candles, LATE_PLAN, silent, params)


WALKS: dict[str, Walk] = {
    "ml_ensemble": ensemble,
    "lightgbm": trees,
    "technical": lambda c: walk_model("technical", c, PLAN, silent),
    "simple": lambda c: walk_simple(c, PLAN, silent),
    "garch": lambda c: walk_garch(c, PLAN, silent),
    "har": lambda c: walk_har(c, PLAN, silent),
    "mean": lambda c: walk_mean(c, PLAN, silent),
    "statsforecast": lambda c: walk_statsforecast(c, REFERENCE_PLAN, silent),
    "mlforecast": lambda c: walk_mlforecast(c, REFERENCE_PLAN, silent),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_a_scrambled_future_leaves_the_forecasts_bit_identical(name: str) -> None:
    before, after = under_scrambling(WALKS[name])
    assert len(before) == len(after) > 0
    assert_same(before, after)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("tensorflow")
@pytest.mark.parametrize("walk", [network, ensemble_with_rnn])
def test_the_same_of_what_tensorflow_trains(walk: Walk) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: run make setup-lstm")
    before, after = under_scrambling(walk)
    assert len(before) == len(after) > 0
    assert_same(before, after)


def under_scrambling(walk: Walk) -> tuple[Rows, Rows]:
    """Return the forecasts up to DAY from real candles, and from candles whose later days are scrambled."""
    candles = panel()
    changed = {coin: scrambled_after(c, DAY) for coin, c in candles.items()}
    return known_by(walk(candles)), known_by(walk(changed))


def assert_same(before: Rows, after: Rows) -> None:
    assert DAY in before.origin
    for field in ("coin", "origin", "horizon", "model"):
        np.testing.assert_array_equal(getattr(before, field), getattr(after, field))
    for field in ("point", "quantiles", "variance", "volatility_rise", "price_rise"):
        np.testing.assert_array_equal(getattr(before, field), getattr(after, field), err_msg=field)


@pytest.mark.slow
def test_one_coin_is_forecast_with_the_market_that_serving_gives_it() -> None:
    candles = panel()
    few = {"rounds": 8, "min_data_in_leaf": 40}
    recipes = {"lightgbm": {"folds": 2, "volatility": few, "mean": few}}
    reported: list[Rows] = []
    for reference in ({}, {"bitcoin": candles["bitcoin"], "ethereum": candles["ethereum"]}):
        plan = replace(LATE_PLAN, recipes=recipes, reference=reference)
        reported.append(walk_model("lightgbm", {"pepe": candles["pepe"]}, plan, silent))
    alone, together = reported
    assert set(together.coin) == {"pepe"} and len(alone) == len(together)
    assert not np.array_equal(alone.quantiles, together.quantiles)


@pytest.mark.slow
def test_an_unseen_coin_is_forecast_by_a_model_of_the_other_coins() -> None:
    candles = panel()
    few = {"rounds": 8, "min_data_in_leaf": 40}
    params = {"folds": 2, "volatility": few, "mean": few}
    plan = replace(LATE_PLAN, recipes={"lightgbm": params})
    rows = walk_unseen("lightgbm", "pepe", candles, plan, silent)
    assert set(rows.coin) == {"pepe"}
    others = {c: candles[c].until(plan.first) for c in ("bitcoin", "ethereum")}
    fitted = find_fit("lightgbm")(others, params, plan.seed, progress=silent).model
    day, market = plan.first + np.timedelta64(2, "D"), Market.of(candles)
    expected = fitted.predict(
        prepared_on({"pepe": candles["pepe"]}, market, day, fitted), plan.horizons
    ).log_return_quantiles
    found = rows.take(rows.origin == day).quantiles
    np.testing.assert_array_equal(found, expected.reshape(found.shape).astype(np.float32))
    seen = walk_model("lightgbm", candles, plan, silent)
    same_coin = seen.take(seen.coin == "pepe")
    assert len(same_coin) == len(rows) and not np.array_equal(same_coin.quantiles, rows.quantiles)


def test_the_check_would_notice_a_look_ahead() -> None:
    candles = panel()
    changed = {coin: scrambled_after(c, DAY - np.timedelta64(1, "D")) for coin, c in candles.items()}
    before, after = (known_by(WALKS["technical"](c)) for c in (candles, changed))
    assert not np.array_equal(before.quantiles, after.quantiles)


def known_by(rows: Rows) -> Rows:
    kept = rows.take(rows.origin <= DAY)
    return kept.take(np.lexsort((kept.horizon, kept.origin, kept.coin, kept.model)))


@pytest.fixture(scope="module")
def rows() -> Rows:
    """The forecasts of the ensemble over two refits."""
    return walk_model("ml_ensemble", panel(), PLAN, silent, ENSEMBLE)


def test_every_day_coin_and_horizon_is_forecast_once(rows: Rows) -> None:
    keys = set(zip(rows.coin, rows.origin, rows.horizon, strict=True))
    assert len(keys) == len(rows)
    assert set(rows.origin) == set(np.arange(FIRST, LAST + np.timedelta64(1, "D")))
    assert set(rows.coin) == {"bitcoin", "ethereum", "pepe"}


def test_the_point_of_the_ensemble_is_the_last_price(rows: Rows) -> None:
    np.testing.assert_allclose(rows.point, rows.last_price, rtol=1e-12)


def test_garch_filter_and_sums_are_the_recursion_written_out() -> None:
    found = Parameters(omega=0.2, alpha=0.1, beta=0.8)
    returns = np.random.default_rng(1).standard_normal(50)
    variance = [2.0]
    for r in returns:
        variance.append(0.2 + 0.1 * r * r + 0.8 * variance[-1])
    np.testing.assert_allclose(found.filtered(returns, 2.0), variance)
    step, total = 3.0, 0.0
    for _ in range(7):
        total, step = total + step, 0.2 + 0.9 * step
    assert found.sums(np.array([3.0]), 7)[0] == pytest.approx(total)


def test_simulated_widths_grow_with_the_horizon_and_are_symmetric() -> None:
    rows = walk_garch(panel(), PLAN, silent)
    fhs = rows.take(rows.model == "garch_t_fhs")
    np.testing.assert_allclose(fhs.quantiles, -fhs.quantiles[:, ::-1], rtol=1e-5)
    day, week = (fhs.quantiles[fhs.horizon == h][:, -5].mean() for h in (1, 7))
    assert 1.5 < week / day < 4
