"""Small real LightGBM versions on disk, written by modelkit as training-svc writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

from coincast_modelkit.artifact import (
    GOLDEN,
    Aliases,
    DataWindow,
    HorizonRecord,
    Manifest,
    Record,
    aliases_path,
    golden_bytes,
    read_aliases,
    write_artifact,
)
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.features import DEFAULT_SPEC, REFERENCE_COINS, market_of
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models.distributions import residual_shape
from coincast_modelkit.models.har import TERMS, HarLine
from coincast_modelkit.models.lightgbm import Head, LightgbmModel
from tests.unit.forecast.forecast_fakes import walk

ANCHORS = (1, 7, 30)
RECORD = Record(
    measured_at=1_756_000_000.0,
    test_coins=("bitcoin",),
    test_from="2025-01-01",
    test_to="2025-06-30",
    horizons=(
        HorizonRecord(
            horizon_days=7,
            forecasts=180,
            mase=0.99,
            random_walk_mase=1.02,
            skill_percent=0.4,
            crps_skill_percent=1.5,
        ),
    ),
)


@cache
def tiny_lightgbm(seed: int = 1, trees: int = 5) -> LightgbmModel:
    """A LightGBM model of a few trees, fitted on noise; another seed gives other forecasts."""
    import lightgbm

    rng = np.random.default_rng(seed)
    spec = DEFAULT_SPEC
    x = rng.normal(size=(200, len(spec.names)))
    settings = {"num_threads": 1, "num_leaves": 7, "verbosity": -1, "seed": seed}

    def head(weight: float) -> Head:
        boosters = []
        for _ in ANCHORS:
            data = lightgbm.Dataset(x, label=0.05 * rng.normal(size=200))
            boosters.append(lightgbm.train(settings, data, num_boost_round=trees))
        # Reloaded from text, as serving will have them.
        again = tuple(lightgbm.Booster(model_str=b.model_to_string()) for b in boosters)
        return Head(ANCHORS, again, np.full(len(ANCHORS), weight))

    line = HarLine(
        TERMS, np.full((3, len(TERMS)), 1 / 40), np.full(3, np.log(0.03 + 0.001 * seed)), np.zeros(len(TERMS))
    )
    residuals = [rng.standard_t(4, size=2000) for _ in ANCHORS]
    return LightgbmModel(
        spec=spec,
        line=line,
        volatility=head(1.0),
        mean=head(0.1),
        shape=residual_shape(ANCHORS, residuals),
        volatility_errors=np.full(3, 0.4),
    )


def manifest_of(model: LightgbmModel, **changes: object) -> Manifest:
    """A manifest for the model."""
    manifest = Manifest(
        model=model.name,
        created_at=1_756_000_000.0,
        feature_names=model.spec.names,
        feature_spec_hash=model.spec.hash,
        data=DataWindow("2024-01-01", "2025-08-31", "0" * 64, {"bitcoin": 600}),
        coins=("bitcoin",),
        seeds=(1,),
        library_versions={},
        code_version="test",
        parameters={},
        record=RECORD,
        golden=GOLDEN,
    )
    return replace(manifest, **changes)  # type: ignore[arg-type]  # a test names its own fields


@cache
def golden_coins() -> list[ModelInput]:
    """Two coins with golden outputs."""
    market = market_of({coin: walk(coin) for coin in REFERENCE_COINS})
    return [prepare(walk(coin), market, DEFAULT_SPEC) for coin in ("bitcoin", "dogecoin")]


def write_version(
    root: Path,
    model: LightgbmModel,
    *,
    key: bytes | None = None,
    promises: LightgbmModel | None = None,
    corrupt: Callable[[Path], None] = lambda _folder: None,
    **changes: object,
) -> str:
    """Write a version; its golden outputs are those of `promises`; `spoil` changes files before digests."""

    def save(folder: Path) -> None:
        model.save(folder)
        (folder / GOLDEN).write_bytes(golden_bytes(promises or model, golden_coins()))
        corrupt(folder)

    return write_artifact(root, manifest_of(model, **changes), save, key=key)


def move(root: Path, model: str = "lightgbm", **aliases: object) -> None:
    """Move aliases, as the registry does."""
    now = read_aliases(root, model)
    moved = Aliases(**{**asdict(now), **aliases, "revision": now.revision + 1})
    aliases_path(root, model).parent.mkdir(parents=True, exist_ok=True)
    replace_file(aliases_path(root, model), moved.to_bytes())


def live_record(root: Path, records: list[dict[str, object]]) -> None:
    """What training-svc says of recent live accuracy."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "live-record.json").write_text(json.dumps({"records": records}))


__all__ = ["PROBABILITIES", "live_record", "move", "tiny_lightgbm", "write_version"]
