"""ml_ensemble: the fitted model serves as recorded, and no future data enters its fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_modelkit.features import Market
from coincast_modelkit.intervals import regime_sizes, symmetric_quantiles, weighted_sizes
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models import MODELS
from coincast_modelkit.models.ensemble.model import LEVELS, EnsembleModel
from coincast_modelkit.models.scales import Garch
from coincast_modelkit.volatility import daily_variance, volatility_regimes
from coincast_training.trainers.base import FittedModel, WalkForward
from coincast_training.trainers.ensemble.pooling import PoolParams, correction, fit_weights
from coincast_training.trainers.ensemble.trainer import fit
from coincast_training.trainers.lightgbm.trainer import fit as fit_lightgbm
from tests.unit.training.evaluation_candles import SMALL_TREES, coin, panel

PARAMS: dict[str, Any] = {"anchors": [1, 7], "trees": SMALL_TREES, "fold_days": 30, "lstm": "off"}


def silent(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    return fit(panel(), PARAMS, 1, progress=silent)


@pytest.fixture(scope="module")
def store() -> dict[tuple[Any, ...], Any]:
    """The folds of `earlier`; a test that adds to it copies it first."""
    return {}


@pytest.fixture(scope="module")
def earlier(store: dict[tuple[Any, ...], Any]) -> FittedModel:
    """The fit 60 days earlier.

    Folds are counted back from the end, so a panel shorter by whole folds repeats the older ones.
    """
    cut = {c: x.until(x.dates[-1] - np.timedelta64(60, "D")) for c, x in panel().items()}
    return fit(cut, PARAMS, 1, progress=silent, store=store)


def prepared(candles: dict[str, Candles], fitted: FittedModel) -> list[ModelInput]:
    market = Market.of(panel())
    return [prepare(c, market, fitted.model.spec) for c in candles.values()]


def test_save_and_load_give_the_same_forecasts(fitted: FittedModel, tmp_path: Path) -> None:
    fitted.model.save(tmp_path)
    loaded = MODELS["ml_ensemble"].load(tmp_path, version="v000001")
    coins = prepared(panel(), fitted)
    one, two = (m.predict(coins, (1, 3, 7, 30)) for m in (fitted.model, loaded))
    np.testing.assert_array_equal(one.log_return_quantiles, two.log_return_quantiles)
    np.testing.assert_array_equal(one.volatility, two.volatility)
    assert loaded.version == "v000001"
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".txt"}


def test_quantiles_never_cross_and_are_symmetric(fitted: FittedModel) -> None:
    made = fitted.model.predict(prepared(panel(), fitted), tuple(range(1, 31)))
    assert (np.diff(made.log_return_quantiles, axis=-1) >= 0).all()
    np.testing.assert_allclose(made.log_return_quantiles, -made.log_return_quantiles[..., ::-1])
    np.testing.assert_array_equal(made.median_prices(), np.repeat(made.last_price[:, None], 30, axis=1))
    assert ((made.rise_of_volatility > 0) & (made.rise_of_volatility < 1)).all()


def test_a_coin_it_has_never_seen_needs_sixty_days_without_ranges_or_volume(fitted: FittedModel) -> None:
    stranger = coin("newcoin", 60, 77, offset=270)
    bare = Candles.of("barecoin", stranger.dates, stranger.close)
    short = stranger.tail(59)
    made = fitted.model.predict(prepared({"a": stranger, "b": bare, "c": short}, fitted), (1, 7, 30))
    np.testing.assert_array_equal(made.usable(), [True, True, False])


def test_one_bad_coin_does_not_cost_the_others(fitted: FittedModel) -> None:
    coins = prepared(panel(), fitted)
    broken = prepared({"x": coin("x", 40, 5, offset=290)}, fitted)
    alone, together = fitted.model.predict(coins, (1, 7)), fitted.model.predict([*broken, *coins], (1, 7))
    assert not together.usable()[0]
    np.testing.assert_allclose(together.log_return_quantiles[1:], alone.log_return_quantiles, rtol=1e-12)


@pytest.mark.slow
def test_the_same_panel_and_seed_give_the_same_bytes(fitted: FittedModel, tmp_path: Path) -> None:
    again = fit(panel(), PARAMS, 1, progress=silent)
    for name, f in (("one", fitted), ("two", again)):
        (tmp_path / name).mkdir()
        f.model.save(tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_folds_kept_from_an_earlier_cut_change_nothing(
    fitted: FittedModel, earlier: FittedModel, store: dict[tuple[Any, ...], Any]
) -> None:
    folds = dict(store)
    kept = fit(panel(), PARAMS, 1, progress=silent, store=folds)
    assert store.keys() < folds.keys()
    # Equal to rounding: the running sums of features end in other bits where the series is longer.
    one, two = (f.model.predict(prepared(panel(), f), (1, 7, 30)) for f in (kept, fitted))
    np.testing.assert_allclose(one.log_return_quantiles, two.log_return_quantiles, rtol=1e-7)
    np.testing.assert_allclose(
        kept.walk_forward.log_return_quantiles, fitted.walk_forward.log_return_quantiles, rtol=1e-7
    )


def test_the_record_was_made_out_of_sample(fitted: FittedModel, earlier: FittedModel) -> None:
    def table(r: WalkForward) -> dict[tuple[str, str, int], Any]:
        keys = zip(r.coin_ids, r.origins.astype(str), r.horizons, strict=True)
        return dict(zip(keys, r.log_return_quantiles, strict=True))

    old, new = table(earlier.walk_forward), table(fitted.walk_forward)
    assert len(old) > 100
    np.testing.assert_allclose([new[k] for k in old], list(old.values()), rtol=1e-7)


def test_weights_are_bounded_and_sum_to_one(fitted: FittedModel) -> None:
    model = fitted.model
    assert isinstance(model, EnsembleModel)
    for anchor in model.anchors:
        np.testing.assert_allclose(anchor.pool.weights.sum(axis=1), 1)
        assert (anchor.pool.weights >= 0).all() and (anchor.pool.weights <= 0.85).all()


def test_weights_go_to_the_member_that_knows() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(-3, 0.7, 4000)
    returns = np.exp(truth) * rng.standard_t(5, 4000)
    members = np.column_stack([truth, rng.normal(-3, 0.7, 4000), np.full(4000, -3.0)])
    weights = fit_weights(
        members, returns, np.ones(4000), prior=np.full(3, 1 / 3), strength=10.0, max_weight=1.0
    )
    assert weights[0] > 0.85


def test_a_correction_restores_the_coverage_that_was_missed() -> None:
    rng = np.random.default_rng(5)
    too_wide = np.abs(rng.standard_normal(5000)) / (1.2816 * 1.5)
    found = correction(too_wide, np.zeros(5000, dtype=np.int64), 7, PoolParams())
    assert found == pytest.approx(1 / 1.5, rel=0.05)
    assert np.mean(too_wide <= found) == pytest.approx(0.8, abs=0.01)
    assert correction(too_wide[:50], np.zeros(50, dtype=np.int64), 7, PoolParams()) == 1.0


@pytest.mark.parametrize(("horizon", "half_life"), [(1, 180), (3, 540), (7, 730), (30, 730)])
def test_the_correction_follows_a_change_of_level_sooner_at_short_horizons(
    horizon: int, half_life: int
) -> None:
    rng = np.random.default_rng(6)
    size = np.abs(rng.standard_normal(8000)) / 1.2816
    # The older half has twice the level, and its age is one half-life: it weighs half of the newer.
    age = np.repeat([half_life, 0], 4000)
    found = correction(size * np.repeat([2.0, 1.0], 4000), age, horizon, PoolParams())
    shares = np.linspace(0.5, 3, 2501)
    covered = [(np.mean(size[4000:] <= x) + 0.5 * np.mean(2 * size[:4000] <= x)) / 1.5 for x in shares]
    assert found == pytest.approx(float(shares[np.searchsorted(covered, 0.8)]), rel=0.01)


def test_garch_scale_is_the_recursion_written_out() -> None:
    garch = Garch(alpha=0.1, beta=0.85, long_run=1e-3)
    squared = np.random.default_rng(2).chisquare(1, 300) * 1e-3
    own = (squared.sum() + 120 * 1e-3) / 420
    variance = own
    for r2 in squared:
        variance = 0.05 * own + 0.1 * r2 + 0.85 * variance
    got = garch.log_scales(squared, (1, 5), 1)[0]
    assert np.exp(2 * got[0]) == pytest.approx(variance, rel=1e-6)
    step, total = variance, 0.0
    for _ in range(5):
        total, step = total + step, 0.05 * own + 0.95 * step
    assert np.exp(2 * got[1]) == pytest.approx(total, rel=1e-6)


def test_a_model_without_error_gets_zero_width() -> None:
    sizes = regime_sizes(np.zeros(100), np.ones(100), np.arange(100) % 3, LEVELS, prior_rows=50)
    assert (symmetric_quantiles(sizes) == 0).all()


@pytest.mark.slow
def test_models_fitted_on_a_price_that_never_moves_give_zero_width() -> None:
    market = panel(days=600)
    flat = Candles.of("flat", market["bitcoin"].dates, np.ones(600))
    trees = {"volatility": {"rounds": 5}, "mean": {"rounds": 5}, "folds": 2}
    models = (
        fit({"flat": flat}, PARAMS | {"fold_days": 60}, 1, progress=silent, reference=market).model,
        fit_lightgbm({"flat": flat}, trees, 1, progress=silent, reference=market).model,
    )
    for model in models:
        coins = [prepare(flat, Market.of(market), model.spec)]
        lower, upper = model.predict(coins, (1, 7)).interval_prices(80)
        assert (lower == 1.0).all() and (upper == 1.0).all()


def test_weighted_sizes_are_quantiles() -> None:
    residuals = np.random.default_rng(3).standard_normal(20001)
    got = weighted_sizes(residuals, np.ones(20001), np.array([0.0, 0.5, 0.8, 0.95]))
    np.testing.assert_allclose(got, [0.0, 0.6745, 1.2816, 1.96], atol=0.03)


def test_conformal_sizes_cover_in_every_regime() -> None:
    rng = np.random.default_rng(4)
    regime = rng.integers(3, size=30000)
    residuals = rng.standard_normal(30000) * np.array([0.5, 1.0, 2.0])[regime]
    sizes = regime_sizes(
        residuals[:20000], np.ones(20000), regime[:20000], np.array([0.0, 0.8]), prior_rows=50
    )
    inside = np.abs(residuals[20000:]) <= sizes[regime[20000:], 1]
    for r in range(3):
        assert inside[regime[20000:] == r].mean() == pytest.approx(0.8, abs=0.02)


def test_regimes_are_known_on_the_day_and_from_a_tail() -> None:
    variance = daily_variance(coin("bitcoin", 1500, 6))
    whole = volatility_regimes(variance)
    np.testing.assert_array_equal(whole[:900], volatility_regimes(variance[:900]))
    assert whole[-1] == volatility_regimes(variance[-720:])[-1]
    np.testing.assert_array_equal(whole[-5:], volatility_regimes(variance, 5))
    assert set(whole) == {0, 1, 2}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"anchor": [1]}, "anchor is not one of"),
        ({"anchors": [0]}, "anchors: must be 1 to 30"),
        ({"fold_days": 2}, "fold_days"),
        ({"trees": {"depth": 3}}, "trees.depth is not one of"),
        ({"trees": {"rounds": "many"}}, "trees.rounds: .*got 'many'"),
        ({"lstm": "perhaps"}, "lstm.use: .*got 'perhaps'"),
        ({"lstm": {"every_days": 3}}, "lstm.every_days: must be at least 30, got 3"),
        ({"lstm": {"colour": 3}}, "lstm.colour is not one of"),
        ({"lstm": {"network": {"units": 0}}}, "lstm.network parameters: units: .*got 0"),
        ({"lstm": {"network": {"samples": 9}}}, "lstm.network.samples: is set by the ensemble"),
        ({"lstm": {"use": "on"}, "anchors": [1]}, "lstm.use: on, but: .*400 days"),
    ],
)
def test_wrong_parameters_are_named(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(panel(), params, 1, progress=silent)


def test_too_little_history_is_said() -> None:
    with pytest.raises(ValueError, match=r"too few|no coin"):
        fit({"bitcoin": coin("bitcoin", 90, 1)}, PARAMS, 1, progress=silent)


def test_explain_names_features(fitted: FittedModel) -> None:
    reported = fitted.model.explain(prepared(panel(), fitted)[0], 7, 5)
    assert len(reported) == 5 and all(a.feature in fitted.model.spec.names for a in reported)
    sizes = [abs(a.contribution) for a in reported]
    assert sizes == sorted(sizes, reverse=True)


def test_a_free_plan_without_ranges_and_volume_can_be_learnt_from() -> None:
    bare = {c: Candles.of(c, x.dates, x.close) for c, x in panel().items() if c != "bitcoin"}
    model = fit(bare, PARAMS, 1, progress=silent).model
    market = Market.of(bare)
    made = model.predict([prepare(c, market, model.spec) for c in bare.values()], (1, 7, 30))
    assert made.usable().all() and (made.volatility > 0).all()
