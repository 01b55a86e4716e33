"""The command `evaluate`: evaluate all models and baselines on a folder of candles by walk-forward."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coincast_chassis.errors import InvalidInput
from coincast_training.cli.options import AsJson, split_ids
from coincast_training.cli.output import errors, reported

if TYPE_CHECKING:
    from coincast_training.evaluation.options import EvaluationOptions

Data = Annotated[
    Path,
    typer.Option(
        "--data", help="Folder of daily candles, one <coin id>.csv for each coin.", metavar="FOLDER"
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        envvar="TRAINING_CONFIG_DIR",
        help="Folder of recipes; by default the built-in ones.",
        metavar="FOLDER",
    ),
]
Hourly = Annotated[
    Path | None,
    typer.Option(
        "--hourly",
        help="With --thin: folder of hourly candles (Parquet) for models that use hours.",
        metavar="FOLDER",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder of the reports.", metavar="PATH")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reported(evaluate))


def evaluate(
    *,
    data: Data,
    first: str = typer.Option(
        "", "--from", help="First day on which forecasts are made, such as 2022-01-01.", metavar="DATE"
    ),
    last: str = typer.Option("", "--to", help="Last day on which forecasts are made.", metavar="DATE"),
    coins: str = typer.Option(
        "", "--coins", help="Coin ids, comma-separated; by default all.", metavar="IDS"
    ),
    models: str = typer.Option(
        "", "--models", help="Models, comma-separated; by default all.", metavar="NAMES"
    ),
    horizons: str = typer.Option(
        "", "--horizons", help="Days ahead, comma-separated; by default 1,7,14,30.", metavar="DAYS"
    ),
    out: Out = Path("reports"),
    seed: int = typer.Option(1, "--seed", help="Random seed of every model.", metavar="N"),
    jobs: int = typer.Option(2, "--jobs", min=1, help="Worker processes.", metavar="N"),
    config_dir: ConfigDir = None,
    interval: str = typer.Option(
        "1d",
        "--interval",
        help="1d: daily candles and models; 1h: hourly candles (Parquet) and `intraday`.",
        metavar="1d|1h",
    ),
    risk: bool = typer.Option(
        False, "--risk", help="Evaluate risk answers: value at risk, touches, joint paths."
    ),
    thin: bool = typer.Option(
        False, "--thin", help="Compare the starter with a model trained on the short history of a free plan."
    ),
    hourly: Hourly = None,
    unseen: bool = typer.Option(
        False, "--unseen", help="Forecast each coin by models that were fitted on the other coins only."
    ),
    refit_days: int | None = typer.Option(
        None, "--refit-days", help="Days between refits, at least 7; by default 30.", metavar="N"
    ),
    as_json: AsJson = False,
) -> None:
    """Evaluate every model and baseline out of sample.

    Writes evaluation.json, evaluation.html and predictions.parquet.
    """
    from coincast_training.evaluation.options import (  # noqa: PLC0415
        REFIT_DAYS,
        BadOptionError,
        EvaluationOptions,
        days_ahead,
    )
    from coincast_training.evaluation.runner import evaluate as run  # noqa: PLC0415 - imports the libraries of the reference models

    if interval not in ("1d", "1h"):
        raise InvalidInput(f"interval must be 1d or 1h; it is {interval!r}.", field="interval")
    if risk and interval == "1h":
        raise InvalidInput("risk answers are evaluated on daily candles; leave out interval.", field="risk")
    if unseen and (thin or risk or interval == "1h"):
        raise InvalidInput(
            "unseen coins are evaluated on daily candles alone; leave out thin, risk and interval.",
            field="unseen",
        )
    if refit_days is not None and (thin or risk or interval == "1h"):
        raise InvalidInput(
            "refit_days is for the evaluation of daily models; leave out thin, risk and interval.",
            field="refit_days",
        )
    try:
        options = EvaluationOptions(
            data=data,
            out=out,
            first=first,
            last=last,
            coins=split_ids(coins),
            models=split_ids(models),
            seed=seed,
            jobs=jobs,
            config_dir=config_dir,
            horizons=days_ahead(split_ids(horizons)),
            unseen=unseen,
            refit_days=REFIT_DAYS if refit_days is None else refit_days,
        )
        if thin:
            _evaluate_thin(options, hourly)
        elif interval == "1h":
            from coincast_training.hourly.evaluation import evaluate_hourly  # noqa: PLC0415 - as above

            evaluate_hourly(options, errors if as_json else None)
        elif risk:
            from coincast_training.evaluation.risk.runner import evaluate_risk  # noqa: PLC0415 - as above

            evaluate_risk(options, errors if as_json else None)
        else:
            run(options, errors if as_json else None)
    except BadOptionError as error:
        raise InvalidInput(str(error)) from error
    if as_json:
        name = "evaluation_hourly.json" if interval == "1h" else "risk.json" if risk else "evaluation.json"
        name = "thin_start.json" if thin else name
        sys.stdout.write((out / name).read_text(encoding="utf-8"))


def _evaluate_thin(options: EvaluationOptions, hourly: Path | None) -> None:
    """Compare starter and local training on short histories, and print the table."""
    import numpy as np  # noqa: PLC0415 - only for this variant

    from coincast_training.evaluation.csv_loader import read_folder  # noqa: PLC0415 - as above
    from coincast_training.evaluation.thin_start import (  # noqa: PLC0415 - as above
        ThinOptions,
        evaluate_thin,
        table,
        write_report,
    )
    from coincast_training.hourly.folder_loader import read_hourly_folder  # noqa: PLC0415 - as above
    from coincast_training.starter.build import RECIPES  # noqa: PLC0415 - as above

    panel = read_folder(options.data).panel
    if unknown := [coin_id for coin_id in options.coins if coin_id not in panel]:
        raise InvalidInput(f"coins: {', '.join(unknown)} not in {options.data}.", field="coins")
    panel = {coin_id: panel[coin_id] for coin_id in options.coins or panel}
    found = evaluate_thin(
        panel,
        ThinOptions(
            first=np.datetime64(options.first or "2022-01-01", "D"),
            last=np.datetime64(options.last or "2025-08-31", "D"),
            horizons=options.horizons or (1, 7, 14, 30),
            models=options.models or tuple(RECIPES),
            hours={} if hourly is None else read_hourly_folder(hourly).panel,
        ),
        lambda fraction, stage: errors.print(f"{100 * fraction:5.1f} % {stage}", highlight=False),
    )
    write_report(found, options.out)
    sys.stdout.write(table(found))
