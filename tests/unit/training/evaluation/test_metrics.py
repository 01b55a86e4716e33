"""The evaluation's metrics against oracles: closed forms, brute force, other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from coincast_modelkit.forecasts import PROBABILITIES
from coincast_training.evaluation.metrics.comparisons import compare_distributions, compare_points
from coincast_training.evaluation.metrics.scores import distribution_scores, point_scores, volatility_scores
from coincast_training.evaluation.metrics.significance import diebold_mariano, ratio_interval, skill_percent
from coincast_training.evaluation.metrics.slices import Slice, pair, quantiles_at, slices_of
from coincast_training.evaluation.metrics.strategy import COST, equity
from coincast_training.evaluation.outcomes import causal_terciles, outcomes_of
from coincast_training.evaluation.rows import Rows, join_rows, point_rows
from coincast_training.optional_imports import import_scoringrules
from tests.unit.training.evaluation_candles import coin, scrambled_after


def gaussian(
    name: str, sigma_factor: float = 1.0, horizon: int = 1
) -> tuple[dict[tuple[str, int], Slice], Rows]:
    candles = coin("bitcoin", 400, 3)
    at = np.arange(100, 390)
    price = candles.close[at]
    sigma = np.full(len(at), 0.03 * sigma_factor)
    rows = point_rows(
        name,
        "bitcoin",
        origin=candles.dates[at],
        horizon=horizon,
        last_price=price,
        point=price,
        quantiles=sigma[:, None] * norm.ppf(PROBABILITIES),
        variance=sigma**2,
        volatility_rise=np.where(at % 2 == 0, 0.9, 0.2),
    )
    return slices_of(rows, outcomes_of(rows, {"bitcoin": candles})), rows


def test_crps_of_a_normal_table_is_close_to_its_closed_form() -> None:
    scoringrules = import_scoringrules()

    slices, _ = gaussian("one")
    s = slices["one", 1]
    exact = scoringrules.crps_normal(s.outcomes.log_return, 0.0, 0.03)
    assert s.crps.mean() == pytest.approx(exact.mean(), rel=0.01)


def test_winkler_is_the_interval_score_written_out() -> None:
    s = gaussian("one")[0]["one", 1]
    low, high, y = 0.03 * norm.ppf(0.1), 0.03 * norm.ppf(0.9), s.outcomes.log_return
    by_hand = (high - low) + 10 * np.maximum(low - y, 0) + 10 * np.maximum(y - high, 0)
    np.testing.assert_allclose(s.winkler, by_hand, rtol=1e-4)


def test_quantiles_between_the_stored_ones_are_those_of_the_normal() -> None:
    table = norm.ppf(PROBABILITIES)[None]
    wanted = np.array([0.0007, 0.013, 0.31, 0.5, 0.87, 0.9991])
    np.testing.assert_allclose(quantiles_at(table, wanted)[0], norm.ppf(wanted), atol=1e-9)


def test_coverage_counts_what_lies_inside() -> None:
    s = gaussian("one")[0]["one", 1]
    y = s.outcomes.log_return
    inside = np.mean(np.abs(y) <= 0.03 * norm.ppf(0.9))
    assert distribution_scores(s)["coverage_percent"]["80"] == pytest.approx(100 * inside)
    terciles = distribution_scores(s)["coverage_80_by_tercile"]
    assert sum(t["forecasts"] for t in terciles.values()) == len(s)
    years = s.rows.origin.astype("datetime64[Y]").astype(str)
    for year, part in distribution_scores(s)["coverage_80_by_year"].items():
        share = np.mean(np.abs(y[years == year]) <= 0.03 * norm.ppf(0.9))
        assert part["coverage_percent"] == pytest.approx(100 * share)
        assert part["forecasts"] == np.sum(years == year) and part["standard_error"] > 0
    assert set(distribution_scores(s)["coverage_80_by_year"]) == set(years) == {"2021", "2022"}


def test_point_scores_written_out() -> None:
    s = gaussian("one")[0]["one", 1]
    scores = point_scores(s)
    assert scores["mape_percent"] == pytest.approx(
        100 * np.mean(np.abs(s.rows.point / s.outcomes.actual - 1))
    )
    assert scores["mase"] > 0
    assert scores["r2_log_return"] == pytest.approx(
        1
        - np.sum(s.outcomes.log_return**2)
        / np.sum((s.outcomes.log_return - s.outcomes.log_return.mean()) ** 2)
    )


def test_qlike_is_zero_only_for_the_realised_variance_itself() -> None:
    s = gaussian("one")[0]["one", 1]
    assert (s.qlike[np.isfinite(s.qlike)] > 0).all()
    s.rows.variance[:] = s.outcomes.realised
    again = Slice("one", 1, s.rows, s.outcomes)
    assert np.nanmax(np.abs(again.qlike)) == pytest.approx(0, abs=1e-12)
    assert volatility_scores(again)["qlike"] == pytest.approx(0, abs=1e-12)


def test_volatility_direction_is_counted_against_the_trailing_one() -> None:
    s = gaussian("one")[0]["one", 1]
    ended = 0.5 * np.log(s.outcomes.realised)
    right = (s.rows.volatility_rise > 0.5) == (ended > s.outcomes.trailing)
    assert volatility_scores(s)["direction_percent"] == pytest.approx(100 * right.mean())


def test_diebold_mariano_is_a_t_statistic_where_losses_are_independent() -> None:
    rng = np.random.default_rng(1)
    gain = 0.1 + rng.standard_normal(4000)
    dates = np.datetime64("2020-01-01") + np.arange(4000).astype("timedelta64[D]")
    got = diebold_mariano(np.zeros(4000), gain, dates, 1)
    assert got == pytest.approx(gain.mean() / (gain.std() / np.sqrt(4000)), rel=0.15)


def test_diebold_mariano_does_not_count_coins_of_one_day_as_independent() -> None:
    rng = np.random.default_rng(2)
    gain, dates = (
        0.1 + rng.standard_normal(400),
        np.datetime64("2020-01-01") + np.arange(400).astype("timedelta64[D]"),
    )
    once = diebold_mariano(np.zeros(400), gain, dates, 1)
    tenfold = diebold_mariano(np.zeros(4000), np.tile(gain, 10), np.tile(dates, 10), 1)
    assert tenfold == pytest.approx(once, rel=1e-9)


def test_diebold_mariano_allows_for_overlapping_targets() -> None:
    rng = np.random.default_rng(3)
    overlapping = np.convolve(0.1 + rng.standard_normal(2030), np.ones(30) / 30, mode="valid")[:2000]
    dates = np.datetime64("2020-01-01") + np.arange(2000).astype("timedelta64[D]")
    naive = overlapping.mean() / (overlapping.std() / np.sqrt(2000))
    assert diebold_mariano(np.zeros(2000), overlapping, dates, 30) < naive / 3


def test_bootstrap_interval_holds_the_ratio() -> None:
    rng = np.random.default_rng(4)
    top, bottom = rng.random(500), 1 + rng.random(500)
    low, high = ratio_interval(
        top, bottom, np.datetime64("2020-01-01") + np.arange(500).astype("timedelta64[D]"), 7
    )
    assert low < top.sum() / bottom.sum() < high


def test_a_sharper_forecast_wins_the_comparison_on_shared_days_only() -> None:
    _, good = gaussian("good", 1.5)
    _, bad = gaussian("bad", 8.0)
    rows = join_rows([good.take(np.arange(0, 250)), bad.take(np.arange(50, 290))])
    slices = slices_of(rows, outcomes_of(rows, {"bitcoin": coin("bitcoin", 400, 3)}))
    shared = pair(slices, "good", "bad", 1)
    assert shared is not None
    found = compare_distributions(shared)
    assert found["forecasts"] == 200
    assert found["skill_percent"] > 20 and found["diebold_mariano"] > 2 and found["coins_better"] == 1
    assert compare_points(shared)["mape_ratio"] == pytest.approx(1)


def test_skill_of_a_model_against_itself_is_zero() -> None:
    loss = np.random.default_rng(5).random(50)
    assert skill_percent(loss, loss) == 0


def test_terciles_see_no_later_day() -> None:
    candles = coin("bitcoin", 400, 8)
    day = candles.dates[250]
    before = causal_terciles(candles)[:251]
    np.testing.assert_array_equal(before, causal_terciles(scrambled_after(candles, day))[:251])
    assert set(before[100:]) == {0, 1, 2}


def test_outcomes_are_absent_until_the_horizon_is_over() -> None:
    candles = coin("bitcoin", 200, 9)
    at = np.array([150, 169, 170, 199])
    price = candles.close[at]
    rows = point_rows("m", "bitcoin", origin=candles.dates[at], horizon=30, last_price=price, point=price)
    actual = outcomes_of(rows, {"bitcoin": candles}).actual
    np.testing.assert_array_equal(np.isfinite(actual), [True, True, False, False])
    assert actual[1] == candles.close[199]


def test_a_book_that_trades_every_eighth_day_is_not_paid_as_if_it_traded_daily() -> None:
    """Empty days count, and closing the book on them is paid for."""
    slices, rows = gaussian("a")
    every = slices["a", 1]
    thin = rows.take(np.arange(len(rows)) % 8 == 0)
    rare = slices_of(thin, outcomes_of(thin, {"bitcoin": coin("bitcoin", 400, 3)}))["a", 1]
    daily, seldom = equity(every, "hold"), equity(rare, "hold")
    assert len(seldom) > 7 * (len(rare) - 1)
    np.testing.assert_allclose(seldom.returns[1::8], -COST)
    assert (seldom.returns[2::8] == 0).all()
    same_days = np.isin(daily.days, seldom.days[8::8])
    np.testing.assert_allclose(seldom.returns[8::8], daily.returns[same_days] - COST)
