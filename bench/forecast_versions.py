"""Train model versions for the benchmarks of forecasts: `python bench/forecast_versions.py FOLDER [DATA]`.

The models are fitted to the last 900 days of the daily candles in DATA. The walk-forward record is left out,
since the benchmarks measure only serving.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from coincast_modelkit.artifact import (
    GOLDEN,
    Aliases,
    Manifest,
    Record,
    aliases_path,
    data_window,
    golden_bytes,
    write_artifact,
)
from coincast_modelkit.candles import Candles
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.features import market_of
from coincast_modelkit.model_input import prepare
from coincast_training.trainers.registry import find_fit

DATA = Path(os.environ.get("COINCAST_DATA", Path(__file__).resolve().parents[2] / "shared/data/daily"))
DAYS = 900


def read_candles(file: Path) -> Candles:
    """Read one coin's daily candles from `date,open,high,low,close,volume_usd`."""
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    days = np.array([r["date"] for r in rows], dtype="datetime64[D]")
    columns = {k: np.array([float(r[k] or "nan") for r in rows]) for k in ("open", "high", "low", "close")}
    volume = np.array([float(r["volume_usd"] or "nan") for r in rows])
    return Candles(file.stem, days, **columns, volume=volume)


def panel_of(folder: Path, days: int = DAYS) -> dict[str, Candles]:
    """Return the last days of all coins in a folder, by the names of the files."""
    return {file.stem: read_candles(file).tail(days) for file in sorted(folder.glob("*.csv"))}


def write(root: Path, model: Any, panel: dict[str, Candles]) -> str:
    """Write a fitted model as the next version and put it into production."""
    market = market_of(panel)
    golden = golden_bytes(model, [prepare(candles, market, model.spec) for candles in panel.values()])

    def save(folder: Path) -> None:
        model.save(folder)
        (folder / GOLDEN).write_bytes(golden)

    manifest = Manifest(
        model=model.name,
        created_at=time.time(),
        feature_names=model.spec.names,
        feature_spec_hash=model.spec.hash,
        data=data_window(panel),
        coins=tuple(panel),
        seeds=(1,),
        library_versions={},
        code_version="bench",
        parameters={},
        record=Record(),
        golden=GOLDEN,
    )
    version = write_artifact(root, manifest, save)
    replace_file(aliases_path(root, model.name), Aliases(production=version, revision=1).to_bytes())
    return version


def main() -> None:
    """Train every model that can be trained here."""
    root, data = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else DATA
    panel = panel_of(data)
    # The network is a member of the ensemble only if TensorFlow is installed. One short fit is enough here.
    network = {"every_days": 400, "network": {"epochs": 1, "stride_days": 14}}
    recipes: list[tuple[str, dict[str, Any]]] = [
        ("lightgbm", {"walk_forward": False}),
        ("ml_ensemble", {"fold_days": 300, "lstm": network}),
    ]
    if importlib.util.find_spec("tensorflow"):
        recipes.append(("lstm", {"walk_forward": False, "epochs": 1, "samples": 50, "stride_days": 14}))
    for model, parameters in recipes:
        if (root / model).exists():
            continue
        began = time.perf_counter()
        fitted = find_fit(model)(panel, parameters, 1, progress=lambda _fraction, _stage: None)
        version = write(root, fitted.model, panel)
        print(f"{fitted.model.name} {version} in {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
