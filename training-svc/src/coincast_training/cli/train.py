"""The commands `train` and `retrain`: train in this process, with a progress bar."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from coincast_modelkit.artifact import Record
from coincast_training.cli import options
from coincast_training.cli.output import announce_market, plain, progress_bar, reported, show, table_of
from coincast_training.domain import Outcome, TrainingSpec
from coincast_training.jobs.validation import JobLimits, validate_spec
from coincast_training.optional_imports import import_lightgbm_alone
from coincast_training.pipeline.factory import open_registry, open_run
from coincast_training.settings import Settings
from coincast_training.trainers.progress import Progress

HourlyData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of hourly Parquet files for intraday, instead of market-data.",
        metavar="FOLDER",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
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
        help="Tuning trials, 0 to 200; 0 uses the configured parameters. An interrupted tuning continues. "
        "Trials of ml_ensemble leave out its network (lstm: off).",
        metavar="N",
    ),
    promote_if_better: bool = typer.Option(
        False,
        "--promote-if-better",
        help="Promote the version if the gate allows it and its record is better.",
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
    from_version: str = typer.Option(
        ..., "--from", help="Version whose training is repeated, such as v000001.", metavar="VERSION"
    ),
    model: options.Model = "lightgbm",
    market: options.Market = "",
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Repeat the training of a version; the files of LightGBM models are identical byte for byte."""
    spec = validate_spec(TrainingSpec(model=model, ids=(), from_version=from_version), JobLimits())
    run_and_show(options.settings_with(market=market, artifacts=artifacts), spec, as_json)


def run_and_show(
    settings: Settings, spec: TrainingSpec, as_json: bool, hourly_folder: Path | None = None
) -> None:
    """Train with a progress bar and print the result."""
    import_lightgbm_alone()
    with progress_bar(quiet=as_json) as progress:
        outcome = asyncio.run(_run(settings, spec, progress, hourly_folder))
    version = open_registry(settings).versions.get(spec.model, outcome.version)
    value = plain(outcome) | {"model": spec.model, "record": plain(version.record)}
    show(value, as_json, lambda: _summary(spec.model, outcome, version.record))


async def _run(
    settings: Settings, spec: TrainingSpec, progress: Progress, hourly_folder: Path | None
) -> Outcome:
    async with open_run(
        settings, spec.model, hourly_folder=hourly_folder, announce=announce_market
    ) as pipeline:
        return await pipeline.run(
            spec,
            requested_by="cli",
            run_id=f"cli-{spec.model}",  # A constant id, so that an interrupted tuning continues.
            progress=progress,
        )


def _summary(model: str, outcome: Outcome, record: Record) -> Table:
    table = record_table(f"{model} {outcome.version}: walk-forward record", record)
    table.caption = outcome.promotion
    return table


def record_table(title: str, record: Record) -> Table:
    """Return a table of a record, with one row for each horizon."""
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
