"""Starter versions: what ships, its installation at the first start, and its comparison with a candidate."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coincast_chassis.clock import ManualClock
from coincast_modelkit.artifact import check_golden, read_artifact, read_manifest
from coincast_modelkit.artifact.golden import golden_inputs
from coincast_modelkit.features import market_of
from coincast_modelkit.hourly.candles import CLOSES, RANGES
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models import EnsembleModel
from coincast_modelkit.scenarios import WINDOW_ORIGINS, RankLibrary, read_library
from coincast_training.domain import TrainingSpec
from coincast_training.pipeline.artifact import write_version
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import forecast_days
from coincast_training.pipeline.metrics import measure
from coincast_training.registry.registry import Registry
from coincast_training.starter.build import MAX_BYTES, SIMULATED, describe, simulated_candles
from coincast_training.starter.comparison import rerun_starter
from coincast_training.starter.install import (
    STARTER_DIR,
    STARTER_MODELS,
    STARTER_VERSION,
    install_starters,
    is_starter,
)
from coincast_training.trainers.base import FittedModel, WalkForward
from tests.unit.training.training_fakes import SpokenModel, walk_forward_of

NOW = 1_800_000_000.0
COINS = ("bitcoin", "ethereum", "solana")


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Simulated histories of some coins; two of them are reference coins."""
    panel = {coin: simulated_candles(coin, seed, 240) for seed, coin in enumerate(COINS, start=10)}
    return TrainingData(panel, {c: panel[c] for c in ("bitcoin", "ethereum")}, "sandbox")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "artifacts", clock=ManualClock(NOW))


@pytest.mark.parametrize("model", STARTER_MODELS)
def test_a_shipped_version_is_whole_and_names_its_days_and_coins(model: str) -> None:
    manifest, _ = read_manifest(STARTER_DIR, model, STARTER_VERSION)
    about = manifest.metrics["starter"]
    assert is_starter(manifest)
    assert about["coins"] == sorted(manifest.coins)
    assert set(about["days"]) == set(about["coins"])
    assert about["from_date"] <= manifest.data.from_date < manifest.data.to_date == about["to_date"]
    assert all(horizon.forecasts for horizon in manifest.record.horizons)
    assert "walk_forward.npz" not in manifest.files


@pytest.mark.parametrize("model", STARTER_MODELS)
def test_its_scenarios_are_ranks_and_have_a_record(model: str) -> None:
    artifact = read_artifact(STARTER_DIR, model, STARTER_VERSION)
    library = read_library(artifact.scenarios)
    assert isinstance(library, RankLibrary)
    assert set(library.coin_ids) == set(artifact.manifest.coins)
    assert len(library.window(dt.date.fromisoformat(artifact.manifest.data.to_date))) == WINDOW_ORIGINS
    assert library.record is not None
    assert library.record.touch_sentence(0.55, 7)


@pytest.mark.parametrize("model", STARTER_MODELS)
def test_its_golden_inputs_are_simulated_candles_and_its_outputs_repeat(model: str) -> None:
    folder = STARTER_DIR / model / STARTER_VERSION
    manifest, _ = read_manifest(STARTER_DIR, model, STARTER_VERSION)
    raw = (folder / manifest.golden).read_bytes()
    assert check_golden(read_artifact(STARTER_DIR, model, STARTER_VERSION).model, raw) < 1e-6
    for stored in golden_inputs(raw)[0]:
        simulated = SIMULATED[stored.coin_id].tail(len(stored.candles))
        # The logarithms of other processors differ in the last digit.
        np.testing.assert_allclose(stored.candles.close, simulated.close, rtol=1e-12)


def test_the_ensemble_reads_hours_of_either_source_and_names_their_span() -> None:
    artifact = read_artifact(STARTER_DIR, "ml_ensemble", STARTER_VERSION)
    inputs, _ = golden_inputs(artifact.golden)
    assert isinstance(artifact.model, EnsembleModel)
    assert {c.coin_id: c.hours and c.hours.source for c in inputs} == {
        "bitcoin": RANGES,
        "ethereum": CLOSES,
        "simulated-coin": None,
    }
    for coin in inputs[:2]:
        with_hours, without = (
            artifact.model.predict([each], [1, 7, 30]).log_return_quantiles
            for each in (coin, replace(coin, hours=None))
        )
        assert [bool(np.any(with_hours[0, i] != without[0, i])) for i in range(3)] == [True, True, False]
    spans = artifact.manifest.metrics["hours_data"]["spans"]
    last_close = np.datetime64(artifact.manifest.data.to_date, "D") + np.timedelta64(1, "D")
    assert set(spans) <= set(artifact.manifest.coins)
    assert all(np.datetime64(closes_at) <= last_close for _, closes_at in spans.values())


def test_the_starters_together_stay_within_their_size() -> None:
    assert sum(f.stat().st_size for f in STARTER_DIR.rglob("*") if f.is_file()) <= MAX_BYTES


def test_no_shipped_file_is_a_table_of_candles() -> None:
    suffixes = {f.suffix for f in STARTER_DIR.rglob("*") if f.is_file()}
    assert not suffixes & {".csv", ".parquet", ".feather", ".arrow"}


@pytest.mark.parametrize("model", STARTER_MODELS)
def test_a_starter_forecasts_without_the_reference_coins(model: str) -> None:
    shipped = read_artifact(STARTER_DIR, model, STARTER_VERSION).model
    alone = prepare(simulated_candles("new-coin", 3, 365), market_of({}), shipped.spec)
    quantiles = shipped.predict([alone], [1, 7, 30]).log_return_quantiles
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()


def test_the_first_start_puts_the_starters_into_production(registry: Registry) -> None:
    assert install_starters(registry) == list(STARTER_MODELS)
    for model in STARTER_MODELS:
        version = registry.table(model).production
        assert registry.versions.verified(model, version)
        assert "starter" in list(registry.audit.entries(model))[-1].reason
    assert install_starters(registry) == []


def test_versions_are_signed_with_the_key_of_the_registry(tmp_path: Path) -> None:
    registry = Registry(tmp_path, clock=ManualClock(NOW), key=b"secret", require_signature=True)
    assert install_starters(registry, ["lightgbm"]) == ["lightgbm"]
    assert registry.versions.get("lightgbm", "v000001").signed


def test_a_model_that_serves_already_keeps_its_version(registry: Registry, data: TrainingData) -> None:
    version = write_candidate(registry, data, walk_forward_of(data.panel))
    registry.promote("lightgbm", version, force=True, reason="test", requested_by="test")
    assert "lightgbm" not in install_starters(registry)
    assert registry.table("lightgbm").production == version


def test_an_interrupted_installation_is_finished_not_repeated(registry: Registry) -> None:
    install_starters(registry, ["lightgbm"])
    (registry.root / "lightgbm" / "aliases.json").unlink()
    install_starters(registry, ["lightgbm"])
    assert registry.versions.names("lightgbm") == ["v000001"]
    assert registry.table("lightgbm").production == "v000001"


@pytest.mark.parametrize("damage", ["flip", "missing", "manifest"])
def test_a_damaged_starter_is_left_out(tmp_path: Path, registry: Registry, damage: str) -> None:
    shipped = tmp_path / "shipped"
    shutil.copytree(STARTER_DIR / "lightgbm", shipped / "lightgbm")
    folder = shipped / "lightgbm" / STARTER_VERSION
    manifest, _ = read_manifest(shipped, "lightgbm", STARTER_VERSION)
    victim = folder / ("manifest.json" if damage == "manifest" else max(manifest.files))
    if damage == "missing":
        victim.unlink()
    else:
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    assert install_starters(registry, ["lightgbm"], shipped=shipped) == []
    assert registry.table("lightgbm").production == ""


def write_candidate(registry: Registry, data: TrainingData, walk: WalkForward) -> str:
    """Write a version with these walk-forward forecasts."""
    return write_version(
        registry,
        spec=TrainingSpec("lightgbm", COINS),
        fitted=FittedModel(SpokenModel("words"), walk, {}),
        data=data,
        record=measure(walk, data.panel, measured_at=NOW),
        seed=7,
        parent=None,
        created_at=NOW,
    )


def widened(data: TrainingData, width: float) -> WalkForward:
    """The starter's own forecasts of the last days, widened by a factor."""
    model = read_artifact(STARTER_DIR, "lightgbm", STARTER_VERSION).model
    days = data.panel["bitcoin"].dates
    walk = forecast_days(model, data, days[-90], days[-1], (1, 7))
    return replace(walk, log_return_quantiles=walk.log_return_quantiles * width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1.0, 3.0])
def test_a_candidate_that_is_not_better_on_the_same_forecasts_does_not_replace_the_starter(
    registry: Registry, data: TrainingData, width: float
) -> None:
    install_starters(registry, ["lightgbm"])
    walk = widened(data, width)
    version = write_candidate(registry, data, walk)
    rerun = rerun_starter(registry, "lightgbm", data, walk)
    assert rerun is not None
    decision = registry.evaluate("lightgbm", version, rerun=rerun)
    assert not decision.better
    assert "starter version v000001, which forecast the same days" in decision.sentence


@pytest.mark.slow
def test_a_better_candidate_replaces_the_starter_and_the_audit_log_says_how(
    registry: Registry, data: TrainingData
) -> None:
    install_starters(registry, ["lightgbm"])
    walk = widened(data, 1.0)
    # Forecasts that know half of the outcome.
    sharper = replace(
        walk,
        log_return_quantiles=walk.log_return_quantiles * 0.5 + walk.actual_log_returns[:, None] * 0.5,
    )
    version = write_candidate(registry, data, sharper)
    rerun = rerun_starter(registry, "lightgbm", data, sharper)
    registry.promote_if_better("lightgbm", version, requested_by="test", rerun=rerun)
    assert registry.table("lightgbm").production == version
    assert "which forecast the same days" in list(registry.audit.entries("lightgbm"))[-1].reason


def test_days_that_the_starter_learnt_from_are_named(registry: Registry, data: TrainingData) -> None:
    install_starters(registry, ["lightgbm"])
    rerun = rerun_starter(registry, "lightgbm", data, widened(data, 1.0))
    assert rerun is not None
    assert "which are compared as well and favour it" in rerun.note


def test_production_that_is_no_starter_is_not_run_again(registry: Registry, data: TrainingData) -> None:
    walk = walk_forward_of(data.panel)
    version = write_candidate(registry, data, walk)
    registry.promote("lightgbm", version, force=True, reason="test", requested_by="test")
    assert rerun_starter(registry, "lightgbm", data, walk) is None


def test_a_description_counts_the_days_of_each_coin(data: TrainingData) -> None:
    about = describe(data.panel)
    assert about["days"] == dict.fromkeys(COINS, 240)
