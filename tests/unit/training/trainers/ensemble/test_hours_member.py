"""The ensemble's member that reads hours: nothing changes without hours, and nothing of the future enters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coincast_modelkit.features import Market
from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyCandles
from coincast_modelkit.hourly.day_measures import DayRow, market_of_hours, newest_row
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models import MODELS
from coincast_modelkit.models.ensemble.model import EnsembleModel
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.ensemble.trainer import fit
from tests.unit.modelkit.hourly.hourly_market import invented
from tests.unit.training.evaluation_candles import SMALL_TREES

PARAMS: dict[str, Any] = {
    "anchors": [1, 7, 30],
    "trees": SMALL_TREES,
    "fold_days": 60,
    "lstm": "off",
    "hours": {"min_days": 90, "rounds": 5},
}
HOURS = {"bitcoin": invented("bitcoin", 400, seed=1), "ethereum": invented("ethereum", 400, seed=2)}
DAILY = {coin: hours.daily() for coin, hours in HOURS.items()}


def silent(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1


@pytest.fixture(scope="module")
def without() -> FittedModel:
    return fit(DAILY, PARAMS, 1, progress=silent)


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    return fit(DAILY, PARAMS, 1, progress=silent, hours=HOURS)


def prepared(
    fitted: FittedModel, hours: dict[str, HourlyCandles] | None = None, source: str = RANGES
) -> list[ModelInput]:
    market = Market.of(DAILY)
    rows: dict[str, DayRow | None] = {}
    if hours is not None:
        measures = market_of_hours(hours, source)
        rows = {c: newest_row(h, measures, source, DAILY[c].dates[-1]) for c, h in hours.items()}
    return [prepare(c, market, fitted.model.spec, rows.get(coin)) for coin, c in DAILY.items()]


def files(model: EnsembleModel, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_forecast_without_hours_is_bit_for_bit_that_of_an_ensemble_without_them(
    fitted: FittedModel, without: FittedModel
) -> None:
    coins = prepared(fitted)
    one, two = (f.model.predict(coins, tuple(range(1, 31))) for f in (fitted, without))
    np.testing.assert_array_equal(one.log_return_quantiles, two.log_return_quantiles)
    np.testing.assert_array_equal(one.volatility, two.volatility)
    np.testing.assert_array_equal(one.rise_of_volatility, two.rise_of_volatility)


def test_hours_change_short_horizons_of_the_coins_that_have_them(fitted: FittedModel) -> None:
    model = fitted.model
    assert isinstance(model, EnsembleModel)
    assert model.reads_hours and [sorted(a.hours) for a in model.anchors] == [[CLOSES, RANGES]] * 2 + [[]]
    plain = model.predict(prepared(fitted), (1, 7, 30)).log_return_quantiles
    read = model.predict(prepared(fitted, HOURS), (1, 7, 30)).log_return_quantiles
    assert (plain[:, :2, -1] != read[:, :2, -1]).all()
    np.testing.assert_array_equal(plain[:, 2], read[:, 2])
    only_bitcoin = {"bitcoin": HOURS["bitcoin"]}
    some = model.predict(prepared(fitted, only_bitcoin), (1, 7, 30)).log_return_quantiles
    np.testing.assert_array_equal(some[1], plain[1])
    assert (some[0, :2, -1] != plain[0, :2, -1]).all()


def test_each_source_has_a_line_of_its_own(fitted: FittedModel) -> None:
    by_source = [
        fitted.model.predict(prepared(fitted, HOURS, source), (1,)).log_return_quantiles[:, 0, -1]
        for source in (RANGES, CLOSES)
    ]
    assert (by_source[0] != by_source[1]).all()


def test_an_older_version_is_read_and_a_newer_one_survives_a_round_trip(
    fitted: FittedModel, without: FittedModel, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    plain = json.loads(files(without.model, old)["ensemble.json"])  # type: ignore[arg-type]
    assert "hours" not in plain and all("hours" not in anchor for anchor in plain["anchors"])
    files(fitted.model, new)  # type: ignore[arg-type]
    coins = prepared(fitted, HOURS)
    for folder, model in ((old, without.model), (new, fitted.model)):
        loaded = MODELS["ml_ensemble"].load(folder, version="v000001")
        one, two = (m.predict(coins, (1, 3, 7)) for m in (model, loaded))
        np.testing.assert_array_equal(one.log_return_quantiles, two.log_return_quantiles)


def test_measures_that_this_build_does_not_know_are_refused(fitted: FittedModel, tmp_path: Path) -> None:
    fitted.model.save(tmp_path)
    path = tmp_path / "ensemble.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "hours": ["something_else"]}))
    with pytest.raises(ValueError, match="train it again"):
        MODELS["ml_ensemble"].load(tmp_path)


@pytest.mark.slow
def test_the_record_was_made_out_of_sample(fitted: FittedModel) -> None:
    """What came after a fold is scrambled, and its forecasts stay what they were."""
    last = DAILY["bitcoin"].dates[-1]
    ends = last - np.timedelta64(60, "D")
    cut_hours = {c: h.until(ends + np.timedelta64(1, "D")) for c, h in HOURS.items()}
    cut = {c: x.until(ends) for c, x in DAILY.items()}
    earlier = fit(cut, PARAMS, 1, progress=silent, hours=cut_hours).walk_forward

    def table(r: Any) -> dict[tuple[str, str, int], Any]:
        keys = zip(r.coin_ids, r.origins.astype(str), r.horizons, strict=True)
        return dict(zip(keys, r.log_return_quantiles, strict=True))

    old, new = table(earlier), table(fitted.walk_forward)
    assert len(old) > 100
    np.testing.assert_allclose([new[k] for k in old], list(old.values()), rtol=1e-7)


def test_the_record_holds_the_forecasts_with_hours(fitted: FittedModel, without: FittedModel) -> None:
    one, two = fitted.walk_forward, without.walk_forward
    differs = (one.log_return_quantiles != two.log_return_quantiles).any(axis=1)
    assert differs[one.horizons == 1].mean() > 0.3
    assert not differs[one.horizons == 30].any()


@pytest.mark.slow
def test_too_few_hours_give_no_member(without: FittedModel, tmp_path: Path) -> None:
    short = {c: h.tail(24 * 100) for c, h in HOURS.items()}
    model = fit(DAILY, PARAMS, 1, progress=silent, hours=short).model
    one, two = (files(m, tmp_path / n) for m, n in ((model, "one"), (without.model, "two")))  # type: ignore[arg-type]
    assert one == two
    with pytest.raises(ValueError, match=r"hours\.use: on"):
        fit(DAILY, {**PARAMS, "hours": {"use": "on", "min_days": 90}}, 1, progress=silent, hours=short)


@pytest.mark.slow
def test_hours_that_are_switched_off_are_not_read() -> None:
    found = fit(DAILY, {**PARAMS, "anchors": [1], "hours": "off"}, 1, progress=silent, hours=HOURS)
    assert not found.model.reads_hours  # type: ignore[attr-defined]
    assert found.parameters["hours"]["use"] == "off"


def test_the_manifest_names_the_share_of_the_line(fitted: FittedModel) -> None:
    shares = fitted.notes["hours"]
    assert set(shares) == {RANGES, CLOSES} and set(shares[RANGES]) == {"1", "7"}
    assert all(0 <= w <= 1 for by_regime in shares[RANGES].values() for w in by_regime)
    assert fitted.parameters["hours"]["use"] == "on"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"prior": 1.0}, "hours.prior"), ({"min_days": 10}, "hours.min_days"), ({"what": 1}, "hours.what")],
)
def test_wrong_parameters_are_named(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        fit(DAILY, {**PARAMS, "hours": wrong}, 1, progress=silent)


def test_a_row_of_an_unknown_source_is_passed_over(fitted: FittedModel) -> None:
    coins = prepared(fitted, HOURS)
    strange = [replace(c, hours=replace(c.hours, source="elsewhere")) for c in coins if c.hours is not None]
    np.testing.assert_array_equal(
        fitted.model.predict(strange, (1, 7)).log_return_quantiles,
        fitted.model.predict(prepared(fitted), (1, 7)).log_return_quantiles,
    )
