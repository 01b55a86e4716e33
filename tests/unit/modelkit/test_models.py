"""Models: sane distributions, one bad coin harms no other, what is saved is what is loaded."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_modelkit.candles import Candles
from coincast_modelkit.features import market_of
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.ledger import LedgerEntry
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models import ForecastModel, LightgbmModel, TechnicalModel
from coincast_modelkit.models.distributions import ResidualShape, regimes_of, residual_shape
from coincast_modelkit.volatility import REGIMES
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.lightgbm.trainer import fit
from tests.unit.modelkit.modelkit_candles import panel, simulated, without

PANEL = panel(420)
MARKET = market_of(PANEL)
PARAMS = {"folds": 2, "volatility": {"rounds": 20}, "mean": {"rounds": 10}}


def quiet(fraction: float, stage: str) -> None:
    """Hears and says nothing."""


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    return fit(PANEL, PARAMS, 7, progress=quiet)


def saved(model: ForecastModel, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.slow
def test_a_refit_is_the_same_to_the_byte(fitted: FittedModel, tmp_path: Path) -> None:
    again = fit(dict(reversed(PANEL.items())), PARAMS, 7, progress=quiet)
    other = fit(PANEL, PARAMS, 8, progress=quiet)
    assert saved(fitted.model, tmp_path / "a") == saved(again.model, tmp_path / "b")
    assert saved(other.model, tmp_path / "c") != saved(again.model, tmp_path / "d")
    np.testing.assert_array_equal(
        fitted.walk_forward.log_return_quantiles, again.walk_forward.log_return_quantiles
    )


def test_what_is_loaded_says_the_same(fitted: FittedModel, tmp_path: Path) -> None:
    saved(fitted.model, tmp_path / "m")
    loaded = LightgbmModel.load(tmp_path / "m", version="v000009")
    prepared = [prepare(c, MARKET, loaded.spec) for c in PANEL.values()]
    a, b = fitted.model.predict(prepared, range(1, 31)), loaded.predict(prepared, range(1, 31))
    np.testing.assert_array_equal(a.log_return_quantiles, b.log_return_quantiles)
    assert loaded.version == "v000009"
    assert a.usable().all()


def test_the_record_was_made_out_of_sample_and_matches_what_came(fitted: FittedModel) -> None:
    record = fitted.walk_forward
    assert len(record) > 500
    assert set(np.unique(record.horizons)) == {1, 3, 7, 14, 30}
    assert np.abs(record.log_return_quantiles).max() < 5
    for i in np.random.default_rng(1).integers(0, len(record), 50):
        coin = PANEL[str(record.coin_ids[i])]
        at = int(np.searchsorted(coin.dates, record.origins[i]))
        assert record.last_prices[i] == coin.close[at]
        came = np.log(coin.close[at + record.horizons[i]] / coin.close[at])
        assert record.actual_log_returns[i] == pytest.approx(came)


@pytest.mark.slow
def test_the_record_does_not_change_when_the_future_does(fitted: FittedModel) -> None:
    """The first fold's forecasts stay the same, whatever happens after its days."""
    first_days = np.unique(fitted.walk_forward.origins)[:20]
    end = first_days[-1]
    crash = {}
    for name, coin in PANEL.items():
        after = coin.dates > end
        factor = np.where(after, np.exp(-0.05 * np.cumsum(after)), 1.0)
        crash[name] = Candles(
            name,
            coin.dates,
            coin.open * factor,
            coin.high * factor,
            coin.low * factor,
            coin.close * factor,
            coin.volume,
        )
    other = fit(crash, PARAMS, 7, progress=quiet).walk_forward
    mine = np.isin(fitted.walk_forward.origins, first_days)
    theirs = np.isin(other.origins, first_days)
    assert mine.sum() > 100
    np.testing.assert_array_equal(
        fitted.walk_forward.log_return_quantiles[mine], other.log_return_quantiles[theirs]
    )


MODELS = ["technical", "lightgbm"]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, fitted: FittedModel) -> ForecastModel:
    return TechnicalModel() if request.param == "technical" else fitted.model


def test_distributions_are_ordered_symmetric_and_widen(model: TechnicalModel | LightgbmModel) -> None:
    prepared = [prepare(c, MARKET, model.spec) for c in PANEL.values()]
    forecasts = model.predict(prepared, range(1, 31))
    q = forecasts.log_return_quantiles
    assert (np.diff(q, axis=-1) >= 0).all()
    width = q[..., -10] - q[..., 9]
    assert (width[:, 29] > width[:, 0]).all()
    assert (np.diff(width, axis=1) > -0.02 * width[:, :1]).all()
    assert (np.abs(forecasts.median_prices() / forecasts.last_price[:, None] - 1) < 0.02).all()
    rise = forecasts.probability_of_rise()
    assert ((rise > 0.4) & (rise < 0.6)).all()
    assert ((forecasts.rise_of_volatility >= 0) & (forecasts.rise_of_volatility <= 1)).all()
    assert (forecasts.volatility > 0.005).all()
    assert (forecasts.volatility < 0.2).all()


def test_a_coin_never_seen_with_sixty_days_is_forecast(model: TechnicalModel | LightgbmModel) -> None:
    stranger = prepare(simulated("stranger", 60, 99, offset=360), MARKET, model.spec)
    forecasts = model.predict([stranger], [1, 7, 30])
    assert forecasts.usable().all()
    lower, upper = forecasts.interval_prices(80)
    assert (lower < stranger.last_price).all()
    assert (upper > stranger.last_price).all()


def test_closes_alone_are_enough(model: TechnicalModel | LightgbmModel) -> None:
    bare = {c: without(x, "open", "high", "low", "volume") for c, x in PANEL.items()}
    forecasts = model.predict([prepare(bare["ethereum"], bare, model.spec)], [1, 7])
    assert forecasts.usable().all()


def test_one_bad_coin_harms_no_other(model: TechnicalModel | LightgbmModel) -> None:
    good = prepare(PANEL["bitcoin"], MARKET, model.spec)
    bad = prepare(PANEL["pepe"].tail(5), MARKET, model.spec)
    both, alone = model.predict([bad, good], [1, 7]), model.predict([good], [1, 7])
    assert both.usable().tolist() == [False, True]
    np.testing.assert_allclose(both.log_return_quantiles[1], alone.log_return_quantiles[0])
    assert both.coins([1]).usable().all()
    assert np.isnan(both.probability_of_rise()[0]).all()


@pytest.mark.parametrize("horizons", [[], [0], [31], [1, 99]])
def test_horizons_out_of_range_are_named(model: TechnicalModel | LightgbmModel, horizons: list[int]) -> None:
    with pytest.raises(ValueError, match="horizons must be 1 to 30"):
        model.predict([], horizons)


def test_a_flat_coin_gets_a_narrow_interval_and_no_crash(model: TechnicalModel | LightgbmModel) -> None:
    dates = PANEL["bitcoin"].dates[-100:]
    peg = prepare(Candles.of("peg", dates, np.ones(100)), MARKET, model.spec)
    forecasts = model.predict([peg], [1, 7])
    assert forecasts.usable().all()
    lower, upper = forecasts.interval_prices(80)
    assert (upper - lower < 0.2).all()


def test_shap_values_add_up(fitted: FittedModel) -> None:
    model = fitted.model
    assert isinstance(model, LightgbmModel)
    prepared = prepare(PANEL["bitcoin"], MARKET, model.spec)
    parts = model.explain(prepared, 7, 500)
    total = sum(a.contribution for a in parts if a.output == "volatility")
    anchor = model.volatility.anchors.index(7)
    base = model.line.intercepts[anchor]
    contributions = model.volatility.boosters[anchor].predict(prepared.row[None], pred_contrib=True)
    trees = np.asarray(contributions)[0, -1]
    expected = model.log_volatility(prepared.row[None])[0, anchor]
    assert total == pytest.approx(expected - base - model.volatility.weights[anchor] * trees, abs=1e-9)
    assert len(model.explain(prepared, 7, 3)) == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"folds": 0}, "folds: input should be greater than or equal to 1, got 0"),
        ({"fold": 3}, "fold is not a parameter"),
        ({"volatility": {"num_leaves": "many"}}, "volatility.num_leaves"),
    ],
)
def test_wrong_parameters_are_named(params: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(PANEL, params, 7, progress=quiet)


def test_too_little_history_is_said() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit({"bitcoin": PANEL["bitcoin"].tail(50)}, {}, 7, progress=quiet)
    with pytest.raises(ValueError, match="enough history"):
        fit({"bitcoin": PANEL["bitcoin"].tail(2)}, {}, 7, progress=quiet)


@pytest.mark.slow
def test_ninety_days_of_one_coin_can_be_trained() -> None:
    found = fit({"bitcoin": PANEL["bitcoin"].tail(92)}, {}, 7, progress=quiet)
    assert found.model.predict([prepare(PANEL["bitcoin"], MARKET, found.model.spec)], [30]).usable().all()


@given(levels=st.lists(st.floats(1, 99.9), min_size=2, max_size=6, unique=True))
def test_intervals_never_cross_and_grow_with_their_level(levels: list[float]) -> None:
    forecasts = TechnicalModel().predict([prepare(PANEL["bitcoin"], {}, TechnicalModel.spec)], [1, 30])
    bounds = [forecasts.interval_prices(level) for level in sorted(levels)]
    for lower, upper in bounds:
        assert (lower <= upper).all()
    for (low1, up1), (low2, up2) in itertools.pairwise(bounds):
        assert (low2 <= low1 + 1e-9).all()
        assert (up2 >= up1 - 1e-9).all()


def forecasts_of(quantiles: np.ndarray) -> Forecasts:
    one = np.ones((1, 1))
    return Forecasts(
        ("x",),
        (dt.date(2025, 1, 1),),
        np.array([100.0]),
        (1,),
        PROBABILITIES,
        quantiles[None, None],
        one,
        one,
        one,
    )


def test_quantiles_and_the_chance_of_a_rise() -> None:
    normal = forecasts_of(
        np.sort(np.random.default_rng(0).standard_normal(100_000))[(PROBABILITIES * 1e5).astype(int)]
    )
    assert normal.probability_of_rise()[0, 0] == pytest.approx(0.5, abs=0.01)
    assert normal.quantile_log_returns([0.975])[0, 0, 0] == pytest.approx(1.96, abs=0.03)
    assert normal.quantile_log_returns([0.9999])[0, 0, 0] > normal.quantile_log_returns([0.9995])[0, 0, 0]
    up = forecasts_of(np.linspace(0.01, 0.02, len(PROBABILITIES)))
    assert up.probability_of_rise()[0, 0] > 0.999
    certain = forecasts_of(np.zeros(len(PROBABILITIES)))
    lower, upper = certain.interval_prices(95)
    assert lower == upper == 100.0
    with pytest.raises(ValueError, match="interval level"):
        up.interval_prices(100)


def test_ledger_entries_survive_a_round_trip() -> None:
    entry = LedgerEntry(
        "id", 1.5, "bitcoin", "usd", "2025-08-31", "lightgbm", "v000001", "production", "lightgbm", 7, 1e5,
        (0.1, 0.9), (9e4, 1.1e5), shadow=True,
    )  # fmt: skip
    assert LedgerEntry.from_json(entry.to_json()) == entry
    assert LedgerEntry.from_json(entry.to_json().replace("{", '{"later":1,', 1)) == entry
    for wrong in ("[]", "{}", '{"forecast_id": "x"}'):
        with pytest.raises(ValueError, match="ledger entry"):
            LedgerEntry.from_json(wrong)
    with pytest.raises(ValueError, match="finite"):
        LedgerEntry.from_json(entry.to_json().replace("110000.0", "NaN"))


def ledger_entry_of(**changes: Any) -> LedgerEntry:
    values: dict[str, Any] = {
        "forecast_id": "id",
        "made_at": 1.5,
        "coin_id": "bitcoin",
        "vs_currency": "usd",
        "as_of": "2025-08-31",
        "model": "intraday",
        "version": "v000001",
        "variant": "production",
        "served_by": "intraday",
        "horizon_days": 0,
        "last_price": 1e5,
        "probabilities": (0.1, 0.9),
        "price_quantiles": (9e4, 1.1e5),
    }
    return LedgerEntry(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "starts_at", "due_at", "due"),
    [
        ({"horizon_days": 1}, "2025-09-01T00:00", "2025-09-02T00:00", "2025-09-01"),
        ({"horizon_days": 7, "as_of_hours": 18}, "2025-09-01T18:00", "2025-09-08T00:00", "2025-09-07"),
        ({"horizon_hours": 1}, "2025-09-01T00:00", "2025-09-01T01:00", "2025-09-01"),
        ({"horizon_hours": 24}, "2025-09-01T00:00", "2025-09-02T00:00", "2025-09-01"),
        ({"horizon_hours": 6, "as_of_hours": 18}, "2025-09-01T18:00", "2025-09-02T00:00", "2025-09-01"),
        ({"horizon_hours": 7, "as_of_hours": 18}, "2025-09-01T18:00", "2025-09-02T01:00", "2025-09-02"),
        ({"horizon_hours": 48, "as_of_hours": 23}, "2025-09-01T23:00", "2025-09-03T23:00", "2025-09-03"),
    ],
)
def test_a_ledger_entry_knows_its_moments(
    changes: dict[str, Any], starts_at: str, due_at: str, due: str
) -> None:
    entry = ledger_entry_of(**changes)
    assert entry.starts_at.isoformat(timespec="minutes") == f"{starts_at}+00:00"
    assert entry.due_at.isoformat(timespec="minutes") == f"{due_at}+00:00"
    assert entry.due == due
    assert LedgerEntry.from_json(entry.to_json()) == entry


def test_an_entry_of_an_older_release_is_daily_and_starts_from_a_close() -> None:
    line = ledger_entry_of(horizon_days=7).to_json()
    old = line.replace(',"horizon_hours":0,"as_of_hours":0', "")
    assert old != line
    assert LedgerEntry.from_json(old) == ledger_entry_of(horizon_days=7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "horizon_(days|hours)"),
        ({"horizon_days": 1, "horizon_hours": 1}, "horizon_(days|hours)"),
        ({"horizon_hours": -1}, "horizon_(days|hours)"),
        ({"horizon_hours": 1, "as_of_hours": 24}, "as_of_hours"),
        ({"horizon_hours": 1, "as_of_hours": -1}, "as_of_hours"),
    ],
)
def test_a_ledger_entry_without_one_horizon_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ledger_entry_of(**changes)


@pytest.mark.parametrize(
    ("closes", "message"), [([1.0, -1.0], "above zero"), ([1.0, float("nan")], "finite"), ([1.0], "dates")]
)
def test_bad_candles_are_refused(closes: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Candles.of("x", [date(2025, 1, 1), date(2025, 1, 2)], closes)
    with pytest.raises(ValueError, match="increase"):
        Candles.of("x", [date(2025, 1, 2), date(2025, 1, 2)], [1.0, 1.0])


def test_few_independent_residuals_are_drawn_to_a_wider_prior() -> None:
    """A calm stretch of a hundred overlapping days must not pass for a narrow distribution."""
    calm = [np.random.default_rng(0).normal(scale=0.3, size=100)]
    trusted = residual_shape([30], calm, blocks=[2000])
    thin = residual_shape([30], calm, blocks=[3])
    alone = residual_shape([30], calm)
    assert trusted.root_mean_square[0] == pytest.approx(alone.root_mean_square[0], rel=0.1)
    assert thin.root_mean_square[0] > 1.0
    assert (thin.sizes[0, 1:] > 2 * alone.sizes[0, 1:]).all()
    for shape in (trusted, thin, alone):
        assert (np.diff(shape.sizes[0]) >= 0).all()
        assert shape.sizes[0, 0] == 0.0


def test_a_model_without_error_gets_zero_width() -> None:
    shape = residual_shape([1, 7], [np.zeros(100), np.zeros(60)], blocks=[100, 8])
    assert (shape.quantiles(range(1, 31), np.arange(REGIMES)) == 0).all()
    assert (shape.calibration([1, 7]) == 0).all()


def test_widths_follow_the_regime_and_shapes_from_before_have_none() -> None:
    shape = residual_shape([1, 7], [np.random.default_rng(j).normal(size=500) for j in range(2)])
    wide = replace(shape, regime_widths=np.array([[0.8, 1.0, 1.2], [0.9, 1.0, 1.4]]))
    again = ResidualShape.from_dict(json.loads(json.dumps(wide.to_dict())))
    plain, drawn = (each.quantiles([1, 7], np.array([0, 2])) for each in (shape, again))
    factors = np.array([[0.8, 0.9], [1.2, 1.4]])
    np.testing.assert_allclose(drawn, factors[..., None] * plain)
    before = {name: value for name, value in shape.to_dict().items() if name != "regime_widths"}
    np.testing.assert_array_equal(ResidualShape.from_dict(before).quantiles([1, 7], np.array([0, 2])), plain)


def test_a_coin_is_forecast_by_the_widths_of_its_own_regime(fitted: FittedModel, tmp_path: Path) -> None:
    model = fitted.model
    assert isinstance(model, LightgbmModel)
    days = itertools.product(PANEL.values(), (420, 300, 200))
    prepared = [prepare(candles.tail(count), MARKET, model.spec) for candles, count in days]
    regimes = regimes_of(prepared)
    widths = []
    for number, factors in enumerate(((1.0, 1.0, 1.0), (0.5, 1.0, 2.0))):
        saved(model, folder := tmp_path / str(number))
        state = json.loads((folder / "model.json").read_text())
        state["shape"]["regime_widths"] = [factors] * len(state["shape"]["anchors"])
        (folder / "model.json").write_text(json.dumps(state))
        lower, upper = LightgbmModel.load(folder).predict(prepared, [1, 7]).interval_prices(80)
        widths.append(np.log(upper / lower))
    assert len(set(regimes)) > 1
    np.testing.assert_allclose(widths[1] / widths[0], np.array([0.5, 1.0, 2.0])[regimes][:, None] * [1, 1])
