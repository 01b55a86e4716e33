"""What hours add at the close: redrawn signs, the border of the day, and the figures to reach."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.intervals import symmetric_quantiles
from coincast_training.evaluation.options import EvaluationPlan
from coincast_training.evaluation.own_models import WITH_HOURS, walk_model
from coincast_training.evaluation.rows import Rows, join_rows, point_rows
from coincast_training.hourly.at_close import compare_at_close, goals_at_close, hours_ahead, signs
from coincast_training.hourly.baselines import GAUSSIAN_SIZES
from tests.unit.modelkit.hourly.hourly_market import invented
from tests.unit.training.evaluation_candles import SMALL_TREES

HOURS = {"bitcoin": invented("bitcoin", 400, seed=1), "ethereum": invented("ethereum", 400, seed=2)}
DAILY = {coin: hours.daily() for coin, hours in HOURS.items()}


def forecasts(model: str, scale_of: dict[str, np.ndarray]) -> Rows:
    """Return Gaussian forecasts of one day with a scale for each day."""
    parts = []
    for coin, scale in scale_of.items():
        dates = DAILY[coin].dates[: len(scale)]
        close = DAILY[coin].close[: len(scale)]
        quantiles = symmetric_quantiles(scale[:, None] * GAUSSIAN_SIZES)
        parts.append(
            point_rows(
                model,
                coin,
                origin=dates,
                horizon=1,
                last_price=close,
                point=close,
                quantiles=quantiles,
                variance=scale**2,
            )
        )
    return join_rows(parts)


def tomorrow(coin: str) -> np.ndarray:
    """Return the root of the sum of squares of the hours of the next day."""
    moves, _ = hours_ahead(HOURS, forecasts("x", {coin: np.ones(390)}), 1)
    return np.sqrt((moves**2).sum(axis=1))


@pytest.mark.slow
def test_a_forecast_that_knows_the_sizes_of_the_hours_gains_and_a_copy_does_not() -> None:
    flat = {c: np.full(390, float(tomorrow(c).mean())) for c in HOURS}
    known = {c: tomorrow(c) for c in HOURS}
    plain = forecasts("ml_ensemble", flat)
    found = compare_at_close(join_rows([plain, forecasts("ml_ensemble" + WITH_HOURS, known)]), HOURS, seed=1)
    assert found[1]["redrawn"]["skill_percent"] > 3
    assert found[1]["redrawn"]["diebold_mariano"] > found[1]["real"]["diebold_mariano"]
    assert found[1]["forecasts"] == 780 and found[1]["with_hours_percent"] == 100
    copy = compare_at_close(join_rows([plain, forecasts("ml_ensemble" + WITH_HOURS, flat)]), HOURS, seed=1)
    assert copy[1]["redrawn"]["skill_percent"] == 0.0 == copy[1]["with_hours_percent"]
    goals = goals_at_close(found)
    assert [g["holds"] for g in goals[:2]] == [True, True]
    assert goals_at_close(copy)[0]["holds"] is False


def test_nothing_is_measured_where_no_hours_were_read() -> None:
    plain = forecasts("ml_ensemble", {c: np.ones(390) for c in HOURS})
    assert compare_at_close(plain, HOURS, seed=1) == {}
    assert all(g["holds"] is None for g in goals_at_close({}))


def test_outcomes_begin_with_the_hour_after_the_close_and_missing_hours_do_not_move() -> None:
    bitcoin = HOURS["bitcoin"]
    close = bitcoin.close.copy()
    close[100 * 24 + 5] = np.nan
    rows = forecasts("x", {"bitcoin": np.ones(390)})
    gap = HourlyCandles(
        "bitcoin", bitcoin.first, bitcoin.open, bitcoin.high, bitcoin.low, close, bitcoin.volume
    )
    moves, variance = hours_ahead({"bitcoin": gap}, rows, 1)
    daily = np.diff(np.log(DAILY["bitcoin"].close))
    assert moves.sum(axis=1)[:50] == pytest.approx(daily[:50])
    assert moves[99, 5] == 0.0 and np.isfinite(variance).all()
    assert moves[99].sum() == pytest.approx(daily[99])


def test_coins_share_the_sign_of_an_hour_and_overlapping_days_too() -> None:
    origins = np.array(["2022-01-01", "2022-01-01", "2022-01-02"], dtype="datetime64[D]")
    drawn = signs(origins, 48, 200, 3)
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0, :, 24:], drawn[2, :, :24])
    assert abs(float(drawn.mean())) < 0.03 and not np.array_equal(drawn[0, 0], drawn[0, 1])


@pytest.mark.slow
def test_the_walk_gives_forecasts_without_and_with_the_hours_and_sees_no_later_hour() -> None:
    first, last = DAILY["bitcoin"].dates[330], DAILY["bitcoin"].dates[345]
    params = {
        "anchors": [1],
        "fold_days": 60,
        "lstm": "off",
        "trees": SMALL_TREES,
        "hours": {"min_days": 90, "rounds": 5},
    }
    plan = EvaluationPlan(
        first, last, ("ml_ensemble",), 1, horizons=(1,), recipes={"ml_ensemble": params}, hours=HOURS
    )
    made = walk_model("ml_ensemble", DAILY, plan, lambda _fraction, _stage: None)
    assert {str(m) for m in made.model} == {"ml_ensemble", "ml_ensemble" + WITH_HOURS}
    known = {c: h.until(last + np.timedelta64(1, "D")) for c, h in HOURS.items()}
    until = {c: candles.until(last) for c, candles in DAILY.items()}
    plan = EvaluationPlan(
        first, last, ("ml_ensemble",), 1, horizons=(1,), recipes={"ml_ensemble": params}, hours=known
    )
    again = walk_model("ml_ensemble", until, plan, lambda _fraction, _stage: None)
    np.testing.assert_allclose(made.quantiles, again.quantiles, rtol=1e-6)
    with_hours = np.char.endswith(made.model, WITH_HOURS)
    at = len(PROBABILITIES) - 1
    assert (made.quantiles[with_hours][:, at] != made.quantiles[~with_hours][:, at]).all()
