"""The scores of risk statements against figures computed by hand or by another route."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.scenarios.portfolio import tail_weights, value_at_risk
from coincast_training.evaluation.risk.acceptance import demanded
from coincast_training.evaluation.risk.baskets import fixed_baskets
from coincast_training.evaluation.risk.runner import few_days_note
from coincast_training.evaluation.risk.scores import (
    calibration_bins,
    calibration_error,
    christoffersen,
    energy_score,
    fz0,
    kupiec,
    pinball,
    variogram_score,
)
from coincast_training.evaluation.risk.var_baselines import (
    ALPHAS,
    garch_tails,
    historical_simulation,
    tails_of,
)


def test_tails_are_those_of_the_product() -> None:
    rng = np.random.default_rng(0)
    for count in (1000, 250, 137):
        changes = rng.normal(0, 1, count)
        quantiles, shortfalls = tails_of(changes)
        for j, alpha in enumerate(ALPHAS):
            level = 100 * (1 - alpha)
            weights = tail_weights(count, level)
            assert quantiles[j] == pytest.approx(-value_at_risk(changes, level), abs=1e-12)
            assert shortfalls[j] == pytest.approx(np.sort(changes)[: len(weights)] @ weights, abs=1e-12)


def test_pinball_and_fz0_are_least_at_the_truth() -> None:
    outcomes = np.random.default_rng(1).normal(0, 1, 200_000)
    true_q, true_es = -1.959964, -2.337803  # the 2.5 % quantile and tail mean of a standard normal
    best_pinball = pinball(outcomes, np.full_like(outcomes, true_q), 0.025).mean()
    best_fz = fz0(outcomes, np.full_like(outcomes, true_q), np.full_like(outcomes, true_es), 0.025).mean()
    for factor in (0.8, 1.25):
        wrong = np.full_like(outcomes, factor * true_q)
        assert pinball(outcomes, wrong, 0.025).mean() > best_pinball
        assert fz0(outcomes, wrong, np.full_like(outcomes, factor * true_es), 0.025).mean() > best_fz


@pytest.mark.parametrize(("hits", "low", "high"), [(50, 0.9, 1.0), (72, 0.001, 0.01), (30, 0.0005, 0.01)])
def test_kupiec_rejects_wrong_shares(hits: int, low: float, high: float) -> None:
    table = np.zeros((1000, 1), dtype=bool)
    table[:hits] = True
    assert low <= kupiec(table, 0.05)[0] <= high


def test_christoffersen_rejects_clusters() -> None:
    spread, clustered = np.zeros(1000, dtype=bool), np.zeros(1000, dtype=bool)
    spread[::20] = True
    clustered[np.arange(0, 1000, 100)[:, None] + np.arange(5)] = True
    assert christoffersen(clustered) < 1e-6
    assert christoffersen(spread) > 0.01


def test_calibration_error_weighs_bins_by_their_counts() -> None:
    probabilities = np.concatenate([np.full(900, 0.15), np.full(100, 0.85)])
    events = np.concatenate([np.arange(900) < 135, np.arange(100) < 65])
    bins = calibration_bins(probabilities, events)
    assert [(b.low, b.count) for b in bins] == [(10, 900), (80, 100)]
    assert calibration_error(bins) == pytest.approx(0.1 * 20)


def test_the_energy_score_needs_no_order_and_compares_samples_of_any_size() -> None:
    rng = np.random.default_rng(2)
    draws, outcome = rng.normal(0, 1, (400, 5)).astype(np.float32), np.zeros(5, dtype=np.float32)
    direct = np.linalg.norm(draws - outcome, axis=1).mean()
    apart = np.linalg.norm(draws[:, None] - draws[None], axis=2)
    direct -= apart.sum() / (2 * 400 * 399)
    assert energy_score(draws, outcome) == pytest.approx(direct, rel=1e-4)
    assert energy_score(draws[::-1], outcome) == pytest.approx(energy_score(draws, outcome), rel=1e-6)


def test_the_variogram_score_prefers_the_right_dependence() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(0, 1, (500, 1))
    together = (common + 0.3 * rng.normal(0, 1, (500, 4))).astype(np.float32)
    alone = np.stack([rng.permutation(column) for column in together.T], axis=1)
    days = [common_day + 0.3 * rng.normal(0, 1, 4) for common_day in rng.normal(0, 1, 100)]
    right = np.mean([variogram_score(together, d.astype(np.float32)) for d in days])
    wrong = np.mean([variogram_score(alone, d.astype(np.float32)) for d in days])
    assert right < wrong


def test_historical_simulation_takes_the_last_days_and_no_later_ones() -> None:
    past = np.random.default_rng(4).normal(0, 1, 400)
    found = historical_simulation(past, np.array([300, 301]))
    expected, _ = tails_of(past[51:301])
    assert found.quantiles[0] == pytest.approx(expected)
    past[302:] = -100
    np.testing.assert_array_equal(
        found.quantiles, historical_simulation(past, np.array([300, 301])).quantiles
    )


def test_garch_tails_know_nothing_of_later_days() -> None:
    rng = np.random.default_rng(5)
    daily = 0.03 * rng.standard_t(5, 500)
    rows = np.arange(400, 470)
    names = ("garch_t", "garch_t_fhs")
    whole = garch_tails(daily, rows, 1, seed=1, names=names)
    later = daily.copy()
    later[471:] = -0.5
    for name in names:
        np.testing.assert_array_equal(
            whole[name].quantiles, garch_tails(later, rows, 1, seed=1, names=names)[name].quantiles
        )
        assert (whole[name].shortfalls < whole[name].quantiles).all()


def test_baskets_are_the_same_for_the_same_seed_and_sum_to_one() -> None:
    first, again = (fixed_baskets(("bitcoin", "ethereum", "solana"), 1) for _ in range(2))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert np.abs(first.weights).sum(axis=1) == pytest.approx(1.0)
    assert (first.weights[first.long_only] >= 0).all()
    assert (first.weights[first.long_short] < 0).any(axis=1).mean() > 0.5


def test_every_figure_demanded_stays_in_the_list() -> None:
    """What could not be measured is said, not left out."""
    nothing = demanded({})
    assert len(nothing) == 79
    assert all(entry["holds"] is None for entry in nothing)
    wanted = ("exceedances", "Kupiec", "loss over ES", "HS 250", "GARCH-t FHS", "lognormal", "twice the tail")
    also = (
        "calibration error",
        "farthest bin",
        "energy",
        "variogram",
        "-5 %",
        "components",
        "paths x 10 coins",
    )
    for words in (*wanted, *also):
        assert any(words in entry["name"] for entry in nothing), words


@pytest.mark.parametrize(("days", "notes"), [(150, 1), (999, 1), (1000, 0), (1338, 0)])
def test_few_days_are_said_beside_the_verdicts(days: int, notes: int) -> None:
    assert len(few_days_note(days)) == notes


@pytest.mark.parametrize(
    ("hits", "holds", "reaches"),
    [(5.0, True, True), (4.0, True, False), (7.0, False, False), (3.8, False, False)],
)
def test_a_figure_is_judged_by_both_ends_of_its_range(hits: float, holds: bool, reaches: bool) -> None:
    results = {"var": {"1": {"groups": {"equal": {"95": {"hits_percent": hits}}}}}}
    entry = next(e for e in demanded(results) if e["name"] == "equal weight: exceedances at 95 %, 1 d, %")
    assert (entry["holds"], entry["reaches_aim"]) == (holds, reaches)
