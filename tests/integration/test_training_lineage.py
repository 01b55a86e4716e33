"""`retrain --from VERSION` on the same data: LightGBM's files byte for byte, the LSTM's forecasts within a
tolerance.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest

from coincast_chassis.clock import ManualClock
from coincast_modelkit.artifact import read_artifact
from coincast_modelkit.features import market_of
from coincast_modelkit.model_input import prepare
from coincast_training.domain import TrainingSpec
from coincast_training.pipeline.pipeline import Pipeline
from coincast_training.trainers.registry import find_fit
from tests.unit.training.training_fakes import FakeHistory, panel_of, registry_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
COINS = ("bitcoin", "ethereum")
PANEL = panel_of(COINS, days=430)
# The largest difference of a log return quantile between two trainings of one lineage on one machine:
# TensorFlow may add in an order of its own. Another seed moves them ten times as far at least.
LSTM_TOLERANCE = 1e-5
LIGHTGBM: dict[str, Any] = {
    "volatility": {"rounds": 10},
    "mean": {"rounds": 5},
    "anchors": [1, 7],
    "mean_anchors": [1],
}
LSTM: dict[str, Any] = {
    "units": 4,
    "attention": 4,
    "hidden": 8,
    "window_days": 20,
    "samples": 8,
    "epochs": 2,
    "folds": 1,
    "anchors": [1, 7],
    "mean_anchors": [1],
}
ENSEMBLE: dict[str, Any] = {
    "anchors": [1, 7],
    "trees": {"rounds": 10, "residual_rounds": 10, "size_rounds": 10},
    "lstm": {"use": "off"},
}
SMALL_NETWORK = {name: LSTM[name] for name in ("units", "attention", "hidden", "window_days", "epochs")}
WITH_NETWORK: dict[str, Any] = {
    **ENSEMBLE,
    "lstm": {"use": "on", "min_days": 120, "every_days": 90, "passes": 8, "network": SMALL_NETWORK},
}


def pipeline_on(folder: Path, days: int, parameters: Mapping[str, Any], **options: Any) -> Pipeline:
    """A pipeline with the real fitters whose history ends after so many days."""
    history = FakeHistory({coin: candles.rows(0, days) for coin, candles in PANEL.items()})
    return Pipeline(
        history=history,
        registry=registry_in(folder / "artifacts"),
        find_fit=find_fit,
        clock=ManualClock(),
        seed=7,
        work_dir=folder / "work",
        parameters=lambda _: parameters,
        **options,
    )


async def trained(pipeline: Pipeline, spec: TrainingSpec, run_id: str) -> Path:
    """The folder of the version that a run wrote."""
    outcome = await pipeline.run(spec, requested_by="test", run_id=run_id, progress=lambda *_: None)
    return pipeline.registry.root / spec.model / outcome.version


async def lineage(folder: Path, model: str, parameters: Mapping[str, Any]) -> tuple[Path, Path]:
    """A version, and the same again ten days and another recipe later."""
    first = await trained(pipeline_on(folder, 420, parameters), TrainingSpec(model, COINS), "a")
    again = TrainingSpec(model, (), from_version=first.name)
    return first, await trained(replace(pipeline_on(folder, 430, {}), seed=99), again, "b")


def files_of(folder: Path) -> dict[str, bytes]:
    """What a version holds, but for the manifest and its seal, which name the version itself."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if "manifest" not in path.name}


async def test_lightgbm_comes_out_byte_for_byte(tmp_path: Path) -> None:
    first, again = await lineage(tmp_path, "lightgbm", LIGHTGBM)
    assert (first.name, again.name) == ("v000001", "v000002")
    assert files_of(first) == files_of(again)
    assert read_artifact(tmp_path / "artifacts", "lightgbm", again.name).manifest.parent == first.name


@pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed: run make setup-lstm"
)
async def test_an_lstm_comes_out_within_its_tolerance(tmp_path: Path) -> None:
    first, again = await lineage(tmp_path, "lstm", LSTM)
    loaded = [read_artifact(tmp_path / "artifacts", "lstm", folder.name) for folder in (first, again)]
    assert loaded[0].manifest.data.sha256 == loaded[1].manifest.data.sha256
    assert loaded[0].manifest.parameters == loaded[1].manifest.parameters
    assert loaded[1].manifest.seeds == (7,)
    market = market_of(PANEL)
    ready = [prepare(PANEL[coin], market, loaded[0].model.spec) for coin in COINS]
    one, other = (each.model.predict(ready, [1, 7, 14, 30]).log_return_quantiles for each in loaded)
    difference = float(np.abs(one - other).max())
    assert difference <= LSTM_TOLERANCE
    other_seed = await trained(
        replace(pipeline_on(tmp_path, 420, LSTM), seed=8), TrainingSpec("lstm", COINS), "c"
    )
    third = read_artifact(tmp_path / "artifacts", "lstm", other_seed.name).model.predict(
        ready, [1, 7, 14, 30]
    )
    by_seed = float(np.abs(one - third.log_return_quantiles).max())
    print(f"\nlargest difference of a quantile: {difference:.1e}; with another seed {by_seed:.1e}")
    assert by_seed > 10 * LSTM_TOLERANCE


@pytest.fixture(scope="module")
def dask() -> Iterator[str]:
    """The address of a Dask cluster of two processes with one thread each."""
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    )
    with cluster:
        yield f"dask:{cluster.scheduler_address}"


@pytest.mark.parametrize(("model", "parameters"), [("lightgbm", LIGHTGBM), ("ml_ensemble", ENSEMBLE)])
def test_a_plain_job_leaves_the_same_files_wherever_its_folds_ran(
    tmp_path: Path, model: str, parameters: Mapping[str, Any], dask: str
) -> None:
    made: dict[str, dict[str, bytes]] = {}
    notes: dict[str, Any] = {}
    for address in ("inline", "processes:2", dask):
        kind = address.partition(":")[0]
        pipeline = pipeline_on(tmp_path / kind, 430, parameters, executor=address)
        folder = asyncio.run(trained(pipeline, TrainingSpec(model, COINS), "run"))
        made[kind] = files_of(folder)
        notes[kind] = read_artifact(tmp_path / kind / "artifacts", model, folder.name).manifest.metrics
    assert made["inline"] == made["processes"] == made["dask"]
    assert notes["inline"] == notes["processes"] == notes["dask"]
    assert any("walk_forward" in name for name in made["inline"])


@pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed: run make setup-lstm"
)
@pytest.mark.parametrize(("model", "parameters"), [("lstm", LSTM), ("ml_ensemble", WITH_NETWORK)])
def test_networks_come_out_within_their_tolerance_wherever_they_were_trained(
    tmp_path: Path, model: str, parameters: Mapping[str, Any]
) -> None:
    found = []
    for address in ("inline", "processes:2"):
        root = tmp_path / address.partition(":")[0]
        folder = asyncio.run(
            trained(pipeline_on(root, 430, parameters, executor=address), TrainingSpec(model, COINS), "run")
        )
        loaded = read_artifact(root / "artifacts", model, folder.name)
        ready = [prepare(PANEL[coin], market_of(PANEL), loaded.model.spec) for coin in COINS]
        found.append(loaded.model.predict(ready, [1, 7]).log_return_quantiles)
        assert any(name.endswith(".onnx") for name in files_of(folder))
    assert float(np.abs(found[0] - found[1]).max()) <= LSTM_TOLERANCE


def test_a_tuned_job_leaves_the_same_files_wherever_its_trials_ran(tmp_path: Path, dask: str) -> None:
    spec = TrainingSpec("lightgbm", COINS, tune_trials=4)
    made: dict[str, dict[str, bytes]] = {}
    for address in ("inline", "processes:2", dask):
        kind = address.partition(":")[0]
        pipeline = pipeline_on(tmp_path / kind, 430, LIGHTGBM, executor=address)
        folder = asyncio.run(trained(pipeline, spec, "run"))
        made[kind] = files_of(folder)
        manifest = read_artifact(tmp_path / kind / "artifacts", "lightgbm", folder.name).manifest
        assert manifest.metrics["tuning"]["trials"] == 4
        reported = json.loads((tmp_path / kind / "work" / "tuning" / "run" / "tuning.json").read_text())
        won = [trial["parameters"] for trial in reported["all"] if trial["value"] == reported["best_value"]]
        expected = won[0] if reported["best_value"] < reported["base_value"] else LIGHTGBM
        assert manifest.parameters["volatility"].items() >= expected["volatility"].items()
    assert made["inline"] == made["processes"] == made["dask"]
    assert len(made["inline"]) >= 4
