"""Widths are corrected, by volatility regime, by how earlier ones did after their own days and by nothing
later.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.models.distributions import LEVELS
from coincast_training.trainers.calibration import AT_80, Calibration
from coincast_training.trainers.oos_corrections import Outputs, correct
from coincast_training.trainers.training_table import Rows

DAYS, SPREAD = 1500, 0.03
CALM, USUAL, WILD = range(3)
FIRST = np.datetime64("2018-01-01", "D")


def table(spread_later: float, *, seed: int = 1) -> Rows:
    """One coin whose returns have another spread in the later half."""
    rng = np.random.default_rng(seed)
    returns = SPREAD * rng.standard_normal(DAYS)
    returns[DAYS // 2 :] *= spread_later
    logs = np.full((DAYS, 1), np.log(SPREAD))
    return Rows(
        coin_ids=("bitcoin",),
        spec=FeatureSpec(("zret_1",)),
        horizons=(1,),
        coin=np.zeros(DAYS, dtype=np.int64),
        origins=FIRST + np.arange(DAYS),
        prices=np.ones(DAYS),
        regime=np.full(DAYS, USUAL),
        features=np.zeros((DAYS, 1)),
        returns=returns[:, None],
        log_volatility=logs,
    )


def outputs(at: np.ndarray) -> Outputs:
    """A model that always forecasts SPREAD."""
    nothing = np.zeros((len(at), 1))
    return Outputs(at, np.full((len(at), 1), np.log(SPREAD)), nothing, nothing, nothing)


def walked(rows: Rows) -> Calibration:
    """Three folds of which the last two fell into the later half."""
    known = Calibration(rows, (1,), (1,))
    for start in (0, DAYS // 2, 3 * DAYS // 4):
        fold = np.arange(start, min(start + DAYS // 2 if not start else start + DAYS // 4, DAYS))
        known.add(outputs(fold), outputs(np.arange(100)), rows.origins[max(start - 1, 0)])
    return known


def size_80(known: Calibration, last: int, regime: int = USUAL) -> float:
    shape = known.at(known.rows.origins[last], outputs(np.arange(100))).shape
    return float(shape.quantiles([1], np.array([regime]))[0, 0, len(LEVELS) - 1 + AT_80])


def test_a_level_that_fell_is_followed_sooner_than_by_residuals_alone() -> None:
    known = walked(table(0.5))
    raw = raw_size_80(known)
    corrected = size_80(known, DAYS - 1)
    right = 0.5 * 1.2816
    assert raw > 1.25 * right
    assert abs(corrected - right) < 0.6 * abs(raw - right)


def raw_size_80(known: Calibration) -> float:
    """The size without a correction, by the residuals of all folds."""
    return float(correct(known.rows, (1,), (1,), known.seen, known.rows.origins[-1]).shape.sizes[0, AT_80])


def test_a_right_level_is_left_alone() -> None:
    """On average: the size of one coin has a standard error of four percent."""
    walks = [walked(table(1.0, seed=seed)) for seed in range(20)]
    ratios = [size_80(known, DAYS - 1) / raw_size_80(known) for known in walks]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.02)
    assert np.std(ratios) < 0.06


def test_at_one_day_a_level_is_forgotten_with_a_half_life_of_180_days() -> None:
    """The level fell by half 1,000 days ago: a half-life of two years would leave the size 16 % too wide."""
    walks = [walked(table(1.0, seed=seed)) for seed in range(20)]
    changed = [
        walked(
            replace(
                known.rows,
                returns=np.where(np.arange(DAYS)[:, None] < 500, 2.0, 1.0) * known.rows.returns,
            )
        )
        for known in walks
    ]
    sizes = [size_80(known, DAYS - 1) for known in changed]
    assert np.mean(sizes) == pytest.approx(1.2816, rel=0.1)


def test_what_came_later_changes_nothing() -> None:
    rows = table(0.5)
    cut = 900
    changed = replace(rows, returns=np.where(np.arange(DAYS)[:, None] < cut, rows.returns, 9.0))
    assert size_80(walked(rows), cut) == size_80(walked(changed), cut)


def test_before_any_fold_nothing_is_corrected() -> None:
    rows = table(0.5)
    later = outputs(np.arange(400))
    known = Calibration(rows, (1,), (1,))
    raw = correct(rows, (1,), (1,), [later], rows.origins[500]).shape
    np.testing.assert_array_equal(known.at(rows.origins[500], later).shape.sizes, raw.sizes)
    assert len(LEVELS) == raw.sizes.shape[1]
    np.testing.assert_array_equal(known.at(rows.origins[500], later).shape.regime_widths, 1.0)


def in_regimes(rows: Rows, wild: np.ndarray) -> Rows:
    """The same with some days wild, on which returns are half as wide again, and the others calm."""
    returns = np.where(wild[:, None], 1.5, 1.0) * rows.returns
    return replace(rows, returns=returns, regime=np.where(wild, WILD, CALM))


def test_a_regime_that_was_too_narrow_gets_wider_and_the_other_narrower() -> None:
    known = walked(in_regimes(table(1.0), np.arange(DAYS) % 3 == 0))
    wild, calm = (size_80(known, DAYS - 1, regime) for regime in (WILD, CALM))
    assert wild == pytest.approx(1.5 * 1.2816, rel=0.1)
    assert calm == pytest.approx(1.2816, rel=0.1)


def test_a_regime_that_was_hardly_seen_is_as_wide_as_all_together() -> None:
    few = walked(in_regimes(table(1.0), np.arange(DAYS) % 100 == 0))
    assert size_80(few, DAYS - 1, WILD) == size_80(few, DAYS - 1, USUAL)


def test_a_price_that_never_moved_leaves_no_width_and_no_error() -> None:
    rows = table(1.0)
    known = walked(in_regimes(replace(rows, returns=0.0 * rows.returns), np.arange(DAYS) % 3 == 0))
    assert size_80(known, DAYS - 1, WILD) == 0.0
