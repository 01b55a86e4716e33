"""Build the starter versions: train on a folder of long daily histories and write the shipped artifacts."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from coincast_modelkit.artifact import GOLDEN, SCENARIOS, Manifest, data_window, golden_bytes, write_artifact
from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import REFERENCE_COINS, market_of
from coincast_modelkit.hourly.candles import HourlyPanel, hours_until
from coincast_modelkit.hourly.day_measures import HoursByDay
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models import ForecastModel
from coincast_modelkit.scenarios import RankLibrary
from coincast_training.evaluation.csv_loader import read_folder
from coincast_training.evaluation.options import BadOptionError
from coincast_training.executors import Executor, open_executor
from coincast_training.hourly.folder_loader import read_hourly_folder
from coincast_training.pipeline.artifact import library_versions
from coincast_training.pipeline.code_version import code_version
from coincast_training.pipeline.lineage import hours_of, spans_of
from coincast_training.pipeline.metrics import measure
from coincast_training.pipeline.odd_coins import (
    left_out_notes,
    shortened_coins,
    without_odd_coins,
    without_odd_hours,
)
from coincast_training.pipeline.pipeline import READ_HOURS
from coincast_training.pipeline.scenarios import scenario_library
from coincast_training.starter.hourly import simulated_hours
from coincast_training.starter.install import STARTER_DIR
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.config import default_folder, read_config
from coincast_training.trainers.params import merged
from coincast_training.trainers.registry import find_fit

MAX_BYTES = 8_000_000
SEED = 7
SIMULATED_DAYS = 800
# The network of the ensemble is left out: it improves the CRPS by a tenth of a percent, and needs 50
# Monte-Carlo passes and megabytes of weights. Members are refitted every 240 days instead of 60, so that the
# build takes minutes for ten years of history.
RECIPES: dict[str, dict[str, Any]] = {"lightgbm": {}, "ml_ensemble": {"lstm": "off", "fold_days": 240}}


def build_starters(
    panel: Panel,
    out: Path,
    *,
    created_at: float,
    models: Sequence[str] = tuple(RECIPES),
    hours: HourlyPanel | None = None,
    executor: Executor | None = None,
) -> dict[str, Path]:
    """Train the starter models on the whole panel and replace the artifacts in `out`.

    Args:
        panel: Daily candles by coin.
        out: Folder of artifacts, which gets one `<model>/v000001` for each model.
        created_at: Time of the versions, in UNIX seconds.
        models: The models to train; artifacts of other models are not changed.
        hours: Hourly candles of the coins of the panel, for models that read hours.
        executor: Runs the fits of the walk-forward record; None runs them in this process.

    Returns:
        The folder of each model's version.

    Raises:
        ValueError: The history is too short, or the artifacts together exceed `MAX_BYTES`.
    """
    built = {
        model: write_starter(panel, model, out, created_at=created_at, hours=hours, executor=executor)
        for model in models
    }
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"The starter versions take {size} bytes; at most {MAX_BYTES} may ship.")
    return built


def write_starter(
    panel: Panel,
    model: str,
    out: Path,
    *,
    created_at: float,
    hours: HourlyPanel | None = None,
    executor: Executor | None = None,
) -> Path:
    """Train one model and write it as `<out>/<model>/v000001`; replace the existing folder.

    The arguments are those of `build_starters`.
    """
    reference = {coin_id: candles for coin_id, candles in panel.items() if coin_id in REFERENCE_COINS}
    whole = panel
    panel, left_out = without_odd_coins(panel)
    params = merged(read_config(default_folder(), model), RECIPES[model])
    read_hours = _hours_up_to_the_last_day(hours or {}, panel) if model in READ_HOURS else {}
    fit: Callable[..., FittedModel] = find_fit(model)
    fitted = fit(
        panel,
        params,
        SEED,
        progress=_print_progress,
        reference=reference,
        executor=executor,
        **({"hours": read_hours} if read_hours else {}),
    )
    scenarios = scenario_library(fitted.walk_forward, panel)
    golden = golden_bytes(fitted.model, _golden_inputs(fitted.model))
    manifest = Manifest(
        model=model,
        created_at=created_at,
        feature_names=fitted.model.spec.names,
        feature_spec_hash=fitted.model.spec.hash,
        data=data_window(panel),
        coins=tuple(sorted(panel)),
        seeds=(SEED,),
        library_versions=library_versions(),
        code_version=code_version(),
        parameters=dict(fitted.parameters),
        record=measure(fitted.walk_forward, panel, measured_at=created_at),
        metrics={
            "source": "folder",
            "spans": spans_of(panel),
            "starter": describe(panel),
            **({"hours_data": hours_of(read_hours)} if getattr(fitted.model, "reads_hours", False) else {}),
            **left_out_notes(left_out, shortened_coins(whole, panel)),
            **fitted.notes,
        },
        golden=GOLDEN,
    )

    def save(folder: Path) -> None:
        fitted.model.save(folder)
        (folder / GOLDEN).write_bytes(golden)
        if scenarios is not None:
            # Only the ranks are shipped: the whole library has daily returns and ranges, from which the
            # candles of the data provider could be computed.
            (folder / SCENARIOS).write_bytes(RankLibrary.from_library(scenarios).to_bytes())

    shutil.rmtree(out / model, ignore_errors=True)
    return out / model / write_artifact(out, manifest, save)


def _hours_up_to_the_last_day(hours: HourlyPanel, panel: Panel) -> HourlyPanel:
    """Return the hours of the coins of the panel up to its last close, without odd coins."""
    of_panel = {coin_id: candles for coin_id, candles in hours.items() if coin_id in panel}
    last = max(candles.dates[-1] for candles in panel.values())
    return without_odd_hours(hours_until(of_panel, last))[0]


def _golden_inputs(model: ForecastModel) -> list[ModelInput]:
    """Return inputs of simulated coins: the first with hourly ranges, the second with hourly closes only."""
    market = market_of(SIMULATED)
    hours = {coin_id: simulated_hours(coin_id, seed) for seed, coin_id in enumerate(SIMULATED, start=1)}
    day = hours["bitcoin"].closes_at.astype("datetime64[D]") - 1
    rows = {
        "bitcoin": HoursByDay.of(hours).row("bitcoin", day),
        "ethereum": HoursByDay.of({c: h.closes_only() for c, h in hours.items()}).row("ethereum", day),
    }
    return [prepare(candles, market, model.spec, rows.get(coin_id)) for coin_id, candles in SIMULATED.items()]


def describe(panel: Panel) -> dict[str, Any]:
    """Describe the data of a starter: coins, number of days, first and last day."""
    return {
        "coins": sorted(panel),
        "days": {coin_id: len(candles) for coin_id, candles in sorted(panel.items())},
        "from_date": str(min(candles.dates[0] for candles in panel.values())),
        "to_date": str(max(candles.dates[-1] for candles in panel.values())),
        "golden_inputs": "simulated candles",
    }


def simulated_candles(coin_id: str, seed: int, days: int = SIMULATED_DAYS) -> Candles:
    """Simulate daily candles of a coin: Student-t returns whose volatility reverts to 3 % per day.

    Golden inputs are stored in an artifact, which must not contain candles of a data provider.
    """
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((days, 3))
    log_volatility = np.empty(days)
    level = 0.0
    for day in range(days):
        level = 0.97 * level + 0.15 * noise[day, 0]
        log_volatility[day] = np.log(0.03) + level
    sigma = np.exp(log_volatility)
    returns = sigma * rng.standard_t(5, days) * np.sqrt(3 / 5)
    close = 100.0 * np.exp(np.cumsum(returns))
    open_ = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(open_, close) * np.exp(np.abs(noise[:, 1]) * sigma / 2)
    low = np.minimum(open_, close) * np.exp(-np.abs(noise[:, 2]) * sigma / 2)
    volume = 1e9 * np.exp(0.5 * noise[:, 1] + 10 * np.abs(returns))
    dates = np.datetime64("2020-01-01", "D") + np.arange(days).astype("timedelta64[D]")
    return Candles.of(
        coin_id,
        [day.astype(object) for day in dates],
        close.tolist(),
        open=open_.tolist(),
        high=high.tolist(),
        low=low.tolist(),
        volume=volume.tolist(),
    )


SIMULATED: Mapping[str, Candles] = {
    coin_id: simulated_candles(coin_id, seed)
    for seed, coin_id in enumerate(("bitcoin", "ethereum", "simulated-coin"), start=1)
}


def _print_progress(fraction: float, stage: str) -> None:
    sys.stderr.write(f"\r{100 * fraction:5.1f} % {stage:<70.70}")
    if fraction >= 1:
        sys.stderr.write("\n")


def main() -> int:
    """Build the starter versions from the command line; return 2 if the data cannot be used."""
    parser = argparse.ArgumentParser(prog="make starter", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of <coin id>.csv with daily candles")
    parser.add_argument("--hourly", type=Path, help="folder of <coin id>.parquet with hourly candles")
    parser.add_argument("--out", type=Path, default=STARTER_DIR, help="folder of the artifacts")
    parser.add_argument("--models", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--executor", default="inline", help="inline, processes or processes:N")
    options = parser.parse_args()
    try:
        with threadpool_limits(limits=1), open_executor(options.executor) as executor:
            built = build_starters(
                read_folder(options.data).panel,
                options.out,
                created_at=time.time(),
                models=options.models,
                hours=read_hourly_folder(options.hourly).panel if options.hourly else None,
                executor=executor,
            )
    except (BadOptionError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for model, folder in built.items():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        sys.stdout.write(f"{model}: {folder} ({size / 1e6:.2f} MB)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
