"""The hourly walk: the table holds what serving computes, and no fit sees an outcome of its future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.candles import FIELDS
from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyCandles
from coincast_modelkit.hourly.model import ANCHORS, IntradayModel
from coincast_training.hourly.dataset import HourlyTable, build_table
from coincast_training.hourly.walk import Fitter, calibrate, calibrate_now, log_scales, walk_forward
from tests.unit.modelkit.hourly.hourly_market import invented

PANEL = {"bitcoin": invented("bitcoin", 420, seed=1), "ethereum": invented("ethereum", 400, seed=2)}
CUT = 24 * 300


@pytest.fixture(scope="module")
def table() -> HourlyTable:
    """Return the table of the invented market."""
    return build_table(PANEL)


def corrupted_after(candles: HourlyCandles, hours: int) -> HourlyCandles:
    """Return the candles with everything after so many hours made a hundred times as wild."""
    factor = np.where(np.arange(len(candles)) < hours, 1.0, np.exp(0.3 * np.sin(np.arange(len(candles)))))
    fields = {f: getattr(candles, f) * factor for f in FIELDS}
    return HourlyCandles(candles.coin_id, candles.first, **fields)


def test_rows_do_not_depend_on_later_hours(table: HourlyTable) -> None:
    other = build_table({coin: corrupted_after(c, CUT) for coin, c in PANEL.items()})
    seen = slice(0, CUT)
    assert np.array_equal(table.rows[:, seen], other.rows[:, seen], equal_nan=True)
    assert np.array_equal(table.log_profile[:, seen], other.log_profile[:, seen], equal_nan=True)
    assert np.array_equal(table.regimes[:, seen], other.regimes[:, seen])
    assert not np.array_equal(table.rows[:, CUT:], other.rows[:, CUT:], equal_nan=True)


def test_fit_at_a_cut_does_not_depend_on_later_hours(table: HourlyTable) -> None:
    other = build_table({coin: corrupted_after(c, CUT) for coin, c in PANEL.items()})
    fits = [Fitter(t).line(CUT) for t in (table, other)]
    assert np.array_equal(fits[0].slopes, fits[1].slopes)
    scales = [log_scales(t, fits[0], slice(0, CUT)) for t in (table, other)]
    kept = [calibrate(t, f, s, CUT) for t, f, s in zip((table, other), fits, scales, strict=True)]
    assert np.array_equal(kept[0].sizes, kept[1].sizes)
    assert np.array_equal(kept[0].hour_widths, kept[1].hour_widths)


def test_outcomes_of_the_walk_lie_after_their_hour(table: HourlyTable) -> None:
    bitcoin = PANEL["bitcoin"]
    for j, h in enumerate(ANCHORS):
        assert table.returns[0, 5000, j] == pytest.approx(
            np.log(bitcoin.close[5000 + h] / bitcoin.close[5000])
        )
    assert np.isnan(table.returns[0, len(bitcoin) - 1]).all()


def test_one_walk_equals_fits_from_nothing(table: HourlyTable) -> None:
    walk = walk_forward(table, CUT, CUT + 24 * 100, refit_days=60)
    assert [f.cut for f in walk.folds] == [CUT, CUT + 24 * 60]
    for fold in walk.folds:
        alone = Fitter(table).line(fold.cut)
        assert fold.calibration.line.slopes == pytest.approx(alone.slopes, rel=1e-6, abs=1e-9)


def test_served_model_repeats_the_newest_row_of_the_table(table: HourlyTable) -> None:
    calibration, _ = calibrate_now(table)
    model = IntradayModel(
        {RANGES: calibration, CLOSES: calibration}, panel_profile=table.panel_profile, profiles=table.profiles
    )
    # The invented coins are younger than the first renewal, but for the newest stretch of the profile.
    coin = PANEL["bitcoin"]
    row, regime = model.row(coin, model.market(PANEL, coin.closes_at))
    assert row == pytest.approx(table.rows[0, len(coin) - 1], abs=0.05)
    assert regime == table.regimes[0, len(coin) - 1]


def test_intervals_cover_what_they_say_out_of_sample(table: HourlyTable) -> None:
    calibration, walk = calibrate_now(table)
    assert 1.0 < calibration.spread[0] < 1.6
    tested = slice(24 * 240, 24 * 400)
    for j in range(len(ANCHORS)):
        residuals = np.abs(table.returns[:, tested, j] / np.exp(walk.log_scales[:, tested, j]))
        inside = residuals <= np.quantile(calibration.sizes[j, 1], 1.0)
        assert np.nanmean(inside) > 0.98


def test_sizes_need_outcomes(table: HourlyTable) -> None:
    nothing = replace(table, returns=np.full_like(table.returns, np.nan))
    with pytest.raises(ValueError, match="outcomes"):
        calibrate(nothing, Fitter(table).line(CUT), np.zeros(table.returns.shape), CUT)


def test_hour_with_larger_moves_than_its_profile_gets_a_wider_interval(table: HourlyTable) -> None:
    returns = table.returns.copy()
    noon = table.origin_hours == 12
    returns[:, noon, 0] *= 1.5
    scales = np.full(returns.shape, np.log(0.01))
    line = Fitter(table).line(CUT)
    plain, wild = (calibrate(t, line, scales, CUT) for t in (table, replace(table, returns=returns)))
    ratio = wild.hour_widths[0] / plain.hour_widths[0]
    assert ratio[12] / ratio[11] > 1.15
    assert np.array_equal(plain.hour_widths[1], wild.hour_widths[1])


def test_closes_alone_give_rows_but_the_same_outcomes(table: HourlyTable) -> None:
    closes = build_table(PANEL, closes_only=True)
    assert np.isfinite(closes.rows[:, CUT]).all()
    assert not np.allclose(closes.rows[:, CUT], table.rows[:, CUT])
    assert np.array_equal(closes.returns, table.returns, equal_nan=True)
