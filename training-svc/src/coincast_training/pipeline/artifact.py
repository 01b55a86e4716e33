"""Write a fitted model as a version on disk, with the lineage from which it can be trained again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from coincast_modelkit.artifact import (
    GOLDEN,
    SCENARIOS,
    Manifest,
    Record,
    data_window,
    golden_bytes,
    write_artifact,
)
from coincast_modelkit.features import REFERENCE_COINS, market_of
from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyPanel, source_of
from coincast_modelkit.hourly.day_measures import DayRow, MarketMeasures, market_of_hours, newest_row
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_training.domain import TrainingSpec
from coincast_training.pipeline.code_version import code_version
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.lineage import Lineage, hours_of, spans_of
from coincast_training.pipeline.odd_coins import left_out_notes
from coincast_training.pipeline.scenarios import scenario_library
from coincast_training.registry.registry import Registry
from coincast_training.registry.walk_forward_file import save_walk_forward
from coincast_training.trainers.base import FittedModel

LIBRARIES = (
    "numpy",
    "scipy",
    "lightgbm",
    "scikit-learn",
    "arch",
    "tensorflow-cpu",
    "keras",
    "onnx",
    "coincast-modelkit",
    "coincast-training",
)
GOLDEN_COINS = 3


def write_version(
    registry: Registry,
    *,
    spec: TrainingSpec,
    fitted: FittedModel,
    data: TrainingData,
    record: Record,
    seed: int,
    parent: Lineage | None,
    created_at: float,
    tuning: Mapping[str, Any] | None = None,
) -> str:
    """Write model, walk-forward forecasts, golden forecasts, scenarios and manifest; return the version.

    Args:
        registry: Registry that gets the version.
        spec: The training request.
        fitted: The fitted model, its walk-forward forecasts and its notes.
        data: Candles that the model was fitted on.
        record: Accuracy of the walk-forward forecasts.
        seed: Seed of the fit.
        parent: Lineage of the version whose training was repeated, if any.
        created_at: Time of the version, in UNIX seconds.
        tuning: Results of the tuning, if any.
    """
    scenarios = scenario_library(fitted.walk_forward, data.panel)
    golden = golden_bytes(fitted.model, golden_coins(data, fitted))
    features = fitted.model.spec
    manifest = Manifest(
        model=spec.model,
        created_at=created_at,
        feature_names=features.names,
        feature_spec_hash=features.hash,
        data=data_window(data.panel),
        coins=tuple(sorted(data.panel)),
        seeds=(seed,),
        library_versions=library_versions(),
        code_version=code_version(),
        parameters=dict(fitted.parameters),
        record=record,
        metrics={
            "source": data.source,
            "reference": reference_window(data),
            "spans": spans_of(data.panel),
            **({"hours_data": hours_of(data.hours)} if getattr(fitted.model, "reads_hours", False) else {}),
            **left_out_notes(data.left_out, data.shortened),
            **fitted.notes,
            **({"tuning": dict(tuning)} if tuning else {}),
        },
        golden=GOLDEN,
        parent=parent.version if parent else "",
    )

    def save(folder: Path) -> None:
        fitted.model.save(folder)
        save_walk_forward(fitted.walk_forward, folder)
        (folder / GOLDEN).write_bytes(golden)
        if scenarios is not None:
            (folder / SCENARIOS).write_bytes(scenarios.to_bytes())

    return write_artifact(registry.root, manifest, save, key=registry.key)


def golden_coins(data: TrainingData, fitted: FittedModel) -> list[ModelInput]:
    """Return the inputs of the golden forecasts: a few coins on their last day, prepared as in serving."""
    panel, market = data.panel, market_of(data.reference)
    chosen = sorted(panel, key=lambda coin_id: (-len(panel[coin_id]), coin_id))[:GOLDEN_COINS]
    markets = {source: market_of_hours(reference_hours(data), source) for source in (RANGES, CLOSES)}
    return [
        prepare(panel[coin_id], market, fitted.model.spec, _newest_hours(data, coin_id, markets))
        for coin_id in chosen
    ]


def reference_hours(data: TrainingData) -> HourlyPanel:
    """Return the hourly candles of the reference coins."""
    return {coin_id: hours for coin_id, hours in data.hours.items() if coin_id in REFERENCE_COINS}


def _newest_hours(data: TrainingData, coin_id: str, markets: Mapping[str, MarketMeasures]) -> DayRow | None:
    """Return the hourly features of a coin's last day, as in serving; None without hours."""
    hours = data.hours.get(coin_id)
    if hours is None or not len(hours):
        return None
    source = source_of(hours)
    return newest_row(hours, markets[source], source, data.panel[coin_id].dates[-1])


def reference_window(data: TrainingData) -> dict[str, Any]:
    """Describe the reference coins of the market features and their days, for the lineage."""
    if not data.reference:
        return {}
    window = data_window(data.reference)
    return {
        "coins": sorted(data.reference),
        "to_date": window.to_date,
        "sha256": window.sha256,
        "spans": spans_of(data.reference),
    }


def library_versions() -> dict[str, str]:
    """Return the installed versions of the libraries that affect the results."""
    return dict(_library_versions())


@cache
def _library_versions() -> tuple[tuple[str, str], ...]:
    """Read the versions once: each is parsed from a file, and a process has loaded what it has."""
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)
