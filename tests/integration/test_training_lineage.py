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

import dask
import distributed
import numpy as np
import pytest
from numpy.typing import NDArray

from coincast_chassis.clock import ManualClock
from coincast_modelkit.artifact import Manifest, read_artifact
from coincast_modelkit.features import market_of
from coincast_modelkit.model_input import prepare
from coincast_training.domain import TrainingSpec
from coincast_training.executors import Executor, open_executor
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
    "folds": 2,
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


def forecast_of(root: Path, model: str, folder: Path, days: list[int]) -> NDArray[np.float64]:
    """The log return quantiles that a version forecasts on the last day of the panel."""
    fitted = read_artifact(root / "artifacts", model, folder.name).model
    ready = [prepare(PANEL[coin], market_of(PANEL), fitted.spec) for coin in COINS]
    return fitted.predict(ready, days).log_return_quantiles


async def test_lightgbm_comes_out_byte_for_byte(tmp_path: Path) -> None:
    first, again = await lineage(tmp_path, "lightgbm", LIGHTGBM)
    assert (first.name, again.name) == ("v000001", "v000002")
    assert files_of(first) == files_of(again)
    assert read_artifact(tmp_path / "artifacts", "lightgbm", again.name).manifest.parent == first.name


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """A pool of two processes, which all tests share: each process imports TensorFlow and LightGBM."""
    with open_executor("processes:2") as executor:
        yield executor


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[Executor]:
    """An executor on a Dask cluster of two processes with one thread each."""
    # Its workers look at their own stacks every ten milliseconds, which takes more time than the work.
    with dask.config.set({"distributed.worker.profile.enabled": False}):
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
        )
    with cluster, open_executor(f"dask:{cluster.scheduler_address}") as executor:
        yield executor


@pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed: run make setup-lstm"
)
async def test_an_lstm_comes_out_within_its_tolerance(tmp_path: Path, processes: Executor) -> None:
    """The same lineage again, here and in other processes; another seed differs by more than that."""
    first, again = await lineage(tmp_path, "lstm", LSTM)
    spec = TrainingSpec("lstm", COINS)
    elsewhere = await trained(pipeline_on(tmp_path, 420, LSTM, executor=processes), spec, "c")
    other_seed = await trained(replace(pipeline_on(tmp_path, 420, LSTM), seed=8), spec, "d")
    loaded = [read_artifact(tmp_path / "artifacts", "lstm", folder.name) for folder in (first, again)]
    assert loaded[0].manifest.data.sha256 == loaded[1].manifest.data.sha256
    assert loaded[0].manifest.parameters == loaded[1].manifest.parameters
    assert loaded[1].manifest.seeds == (7,)
    assert any(name.endswith(".onnx") for name in files_of(elsewhere))
    one, *others, third = (
        forecast_of(tmp_path, "lstm", folder, [1, 7, 14, 30])
        for folder in (first, again, elsewhere, other_seed)
    )
    difference = max(float(np.abs(one - other).max()) for other in others)
    assert difference <= LSTM_TOLERANCE
    by_seed = float(np.abs(one - third).max())
    print(f"\nlargest difference of a quantile: {difference:.1e}; with another seed {by_seed:.1e}")
    assert by_seed > 10 * LSTM_TOLERANCE


@pytest.mark.long
@pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed: run make setup-lstm"
)
def test_an_ensembles_network_comes_out_within_its_tolerance_in_other_processes(
    tmp_path: Path, processes: Executor
) -> None:
    found = []
    for kind, executor in (("inline", "inline"), ("processes", processes)):
        pipeline = pipeline_on(tmp_path / kind, 430, WITH_NETWORK, executor=executor)
        folder = asyncio.run(trained(pipeline, TrainingSpec("ml_ensemble", COINS), "run"))
        found.append(forecast_of(tmp_path / kind, "ml_ensemble", folder, [1, 7]))
        assert any(name.endswith(".onnx") for name in files_of(folder))
    assert float(np.abs(found[0] - found[1]).max()) <= LSTM_TOLERANCE


@pytest.mark.parametrize(
    ("model", "parameters", "trials"),
    [("lightgbm", LIGHTGBM, 2), pytest.param("ml_ensemble", ENSEMBLE, 0, marks=pytest.mark.long)],
)
def test_a_job_leaves_the_same_files_wherever_its_folds_and_trials_ran(
    tmp_path: Path,
    *,
    model: str,
    parameters: Mapping[str, Any],
    trials: int,
    processes: Executor,
    dask_cluster: Executor,
) -> None:
    spec = TrainingSpec(model, COINS, tune_trials=trials)
    made: dict[str, dict[str, bytes]] = {}
    notes: dict[str, Any] = {}
    for kind, executor in (("inline", "inline"), ("processes", processes), ("dask", dask_cluster)):
        root = tmp_path / kind
        folder = asyncio.run(trained(pipeline_on(root, 430, parameters, executor=executor), spec, "run"))
        made[kind] = files_of(folder)
        manifest = read_artifact(root / "artifacts", model, folder.name).manifest
        notes[kind] = manifest.metrics
        if trials:
            check_tuning(root, manifest, trials)
    assert made["inline"] == made["processes"] == made["dask"]
    assert notes["inline"] == notes["processes"] == notes["dask"]
    assert any("walk_forward" in name for name in made["inline"])
    assert len(made["inline"]) >= 4


def check_tuning(root: Path, manifest: Manifest, trials: int) -> None:
    """The version has the parameters of the best trial, or the base where none was better."""
    assert manifest.metrics["tuning"]["trials"] == trials
    reported = json.loads((root / "work" / "tuning" / "run" / "tuning.json").read_text())
    won = [trial["parameters"] for trial in reported["all"] if trial["value"] == reported["best_value"]]
    expected = won[0] if reported["best_value"] < reported["base_value"] else LIGHTGBM
    assert manifest.parameters["volatility"].items() >= expected["volatility"].items()
