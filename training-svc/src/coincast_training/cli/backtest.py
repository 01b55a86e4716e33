"""The command `backtest`: walk forward over the past and write a report."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group

from coincast_modelkit.features import REFERENCE_COINS
from coincast_training.cli import options
from coincast_training.cli.output import announce_market, plain, progress_bar, reported, show, table_of
from coincast_training.cli.train import record_table
from coincast_training.domain import TrainingSpec
from coincast_training.executors import open_executor
from coincast_training.jobs.validation import JobLimits, validate_spec
from coincast_training.optional_imports import import_lightgbm_alone
from coincast_training.pipeline.dataset import TrainingData, training_data_of
from coincast_training.pipeline.factory import open_pipeline, recipe
from coincast_training.pipeline.pipeline import MIN_DAYS
from coincast_training.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from coincast_training.backtest.run import Backtest
    from coincast_training.backtest.strategy import Curve

Report = Annotated[Path, typer.Option("--report", help="The HTML page to write.", metavar="FILE")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reported(backtest))


def backtest(
    *,
    ids: options.Ids,
    model: options.Model = "lightgbm",
    days: options.Days = 1000,
    test_days: int = typer.Option(
        365, "--test-days", min=30, help="Number of days to test, the last ones.", metavar="N"
    ),
    refit_days: int = typer.Option(60, "--refit-days", min=7, help="Days between refits.", metavar="N"),
    rolling_days: int | None = typer.Option(
        None, "--rolling-days", min=180, help="Train on only this many days before each refit.", metavar="N"
    ),
    fee_bp: float = typer.Option(
        10.0, "--fee-bp", min=0, help="Fee on the traded amount, in basis points.", metavar="BASIS_POINTS"
    ),
    slippage_bp: float = typer.Option(
        5.0,
        "--slippage-bp",
        min=0,
        help="Slippage on the traded amount, in basis points.",
        metavar="BASIS_POINTS",
    ),
    report: Report = Path("reports/backtest.html"),
    market: options.Market = "",
    executor: options.ExecutorAddress = "",
    as_json: options.AsJson = False,
) -> None:
    """Walk forward over the past with refits, simulate strategies after costs, and write an HTML report.

    ml_ensemble is refitted without its network (lstm: off); the report says so.
    """
    settings = options.settings_with(market=market, executor=executor)
    spec = validate_spec(
        TrainingSpec(model, options.split_ids(ids), days), JobLimits(max_coins=settings.max_coins_per_job)
    )
    walk = Walk(test_days, refit_days, rolling_days, fee_bp, slippage_bp)
    found = run_walk(settings, spec, walk, report, quiet=as_json)
    show(_value(found, report), as_json, lambda: _summary(found, report))


@dataclass(frozen=True, slots=True)
class Walk:
    """Options of the walk-forward and the trading costs, from the command line."""

    test_days: int
    refit_days: int
    rolling_days: int | None
    fee_bp: float
    slippage_bp: float


def run_walk(settings: Settings, spec: TrainingSpec, walk: Walk, report: Path, *, quiet: bool) -> Backtest:
    """Fetch history, walk forward and write the report."""
    import_lightgbm_alone()
    # Plots and strategies take seconds to import, so other commands must not import them.
    from coincast_training.backtest.report import write_report  # noqa: PLC0415 - as above
    from coincast_training.backtest.run import BacktestOptions, run_backtest  # noqa: PLC0415
    from coincast_training.backtest.strategy import Costs  # noqa: PLC0415

    chosen = BacktestOptions(
        model=spec.model,
        seed=settings.seed,
        refit_days=walk.refit_days,
        test_days=walk.test_days,
        rolling_days=walk.rolling_days,
        params=recipe(settings, spec.model),
        costs=Costs(walk.fee_bp, walk.slippage_bp),
    )
    data = asyncio.run(fetched(settings, spec))
    with open_executor(settings.executor) as parts, progress_bar(quiet) as progress:
        found = run_backtest(data, chosen, parts, progress)
        write_report(found, data.panel, report)
        progress(1.0, f"wrote {report}")
    return found


async def fetched(settings: Settings, spec: TrainingSpec) -> TrainingData:
    """Fetch the history of a command in the same way as a training."""
    async with open_pipeline(settings, announce=announce_market) as pipeline:
        wanted = tuple(dict.fromkeys((*spec.ids, *REFERENCE_COINS)))
        return training_data_of(await pipeline.history.fetch(wanted, spec.days), spec.ids, MIN_DAYS)


def _value(found: Backtest, report: Path) -> dict[str, Any]:
    return {
        "record": plain(found.record),
        "in_sample": plain(found.in_sample_record),
        "decay": plain(found.decay()),
        "strategies": {curve.name: curve.figures for curve in found.curves},
        "fit_seconds": found.fit_seconds,
        "predict_seconds": found.predict_seconds,
        "report": str(report),
    }


def strategies_table(curves: Sequence[Curve]) -> Table:
    """Return the figures of the strategies with one row per figure, to fit into a narrow terminal."""
    names = list(curves[0].figures) if curves else []
    rows = [
        (name.replace("_percent", " %").replace("_", " "), *(curve.figures[name] for curve in curves))
        for name in names
    ]
    return table_of("Strategies after costs", ("", *(curve.name for curve in curves)), rows)


def _summary(found: Backtest, report: Path) -> Group:
    decay = [tuple(row.values()) for row in found.decay()]
    return Group(
        record_table(f"Out of sample, {found.record.test_from} to {found.record.test_to}", found.record),
        table_of("CRPS skill %", ("days", "in sample", "out of sample", "decay"), decay),
        strategies_table(found.curves),
        f"Report: {report}",
    )
