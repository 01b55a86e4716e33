"""`train` and `retrain`: a run in this process, with a bar."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from coincast_modelkit.artifact import Record
from coincast_training.cli import options
from coincast_training.cli.output import plain, progress_bar, reported, show, table_of
from coincast_training.domain import Outcome, TrainingSpec
from coincast_training.jobs.validation import JobLimits, validate_spec
from coincast_training.pipeline.factory import open_registry, open_run
from coincast_training.settings import Settings
from coincast_training.trainers.progress import Progress

HourlyData = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of hourly Parquet files for intraday, in place of market-data."),
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(reported(train))
    app.command()(reported(retrain))


def train(
    *,
    ids: options.Ids,
    model: options.Model = "lightgbm",
    days: options.Days = 365,
    tune: int = typer.Option(
        0,
        "--tune",
        help="Trials of the tuner, 0 to 200; 0 takes the configured parameters. An interrupted one goes on. "
        "Trials of ml_ensemble leave its network out (lstm: off).",
    ),
    promote_if_better: bool = typer.Option(
        False,
        "--promote-if-better",
        help="Move production where the gate allows it and the record is better.",
    ),
    market: options.Market = "",
    artifacts: options.Artifacts = None,
    executor: options.ExecutorAddress = "",
    data: HourlyData = None,
    as_json: options.AsJson = False,
) -> None:
    """Train a model in this process and write it as a new version."""
    spec = TrainingSpec(
        model=model,
        ids=options.split_ids(ids),
        days=days,
        tune_trials=tune,
        promote_if_better=promote_if_better,
    )
    settings = options.settings_with(market=market, artifacts=artifacts, executor=executor)
    run_and_show(
        settings, validate_spec(spec, JobLimits(max_coins=settings.max_coins_per_job)), as_json, data
    )


def retrain(
    *,
    from_version: str = typer.Option(..., "--from", help="The version whose lineage is repeated: v000001."),
    model: options.Model = "lightgbm",
    market: options.Market = "",
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Train a version again: same data, seeds and parameters; LightGBM's files come out byte for byte."""
    spec = validate_spec(TrainingSpec(model=model, ids=(), from_version=from_version), JobLimits())
    run_and_show(options.settings_with(market=market, artifacts=artifacts), spec, as_json)


def run_and_show(
    settings: Settings, spec: TrainingSpec, as_json: bool, hourly_folder: Path | None = None
) -> None:
    """Runs with a bar and shows what came of it."""
    with progress_bar(quiet=as_json) as progress:
        outcome = asyncio.run(_run(settings, spec, progress, hourly_folder))
    version = open_registry(settings).versions.get(spec.model, outcome.version)
    value = plain(outcome) | {"model": spec.model, "record": plain(version.record)}
    show(value, as_json, lambda: _told(spec.model, outcome, version.record))


async def _run(
    settings: Settings, spec: TrainingSpec, progress: Progress, hourly_folder: Path | None
) -> Outcome:
    async with open_run(settings, spec.model, hourly_folder=hourly_folder) as pipeline:
        return await pipeline.run(
            spec,
            requested_by="cli",
            run_id=f"cli-{spec.model}",  # the same again, so that a tuning that was interrupted goes on
            progress=progress,
        )


def _told(model: str, outcome: Outcome, record: Record) -> Table:
    table = record_table(f"{model} {outcome.version}: walk-forward record", record)
    table.caption = outcome.promotion
    return table


def record_table(title: str, record: Record) -> Table:
    """A record, horizon by horizon."""
    rows = [
        (
            h.horizon_days or f"{h.horizon_hours} h",
            h.forecasts,
            h.mape_percent,
            h.random_walk_mape_percent,
            h.skill_percent,
            h.crps_skill_percent,
            h.coverage_80_percent,
            h.coverage_95_percent,
        )
        for h in record.horizons
    ]
    columns = ("days", "forecasts", "MAPE %", "RW MAPE %", "skill %", "CRPS skill %", "in 80 %", "in 95 %")
    return table_of(title, columns, rows)
