"""`evaluate`: the walk-forward evaluation of every model, baseline and peer on a folder of candles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coincast_chassis.errors import InvalidInput
from coincast_training.cli.options import AsJson, split_ids
from coincast_training.cli.output import errors, reported

Data = Annotated[Path, typer.Option("--data", help="Folder of daily candles, one <coin id>.csv a coin.")]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", envvar="TRAINING_CONFIG_DIR", help="Folder of recipes; the installed ones."),
]
Out = Annotated[Path, typer.Option("--out", help="Where the reports are written.")]


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(reported(evaluate))


def evaluate(
    *,
    data: Data,
    first: str = typer.Option("", "--from", help="First day forecasts are made on, as 2022-01-01."),
    last: str = typer.Option("", "--to", help="Last day forecasts are made on."),
    coins: str = typer.Option("", "--coins", help="Coin ids with commas between; all where empty."),
    models: str = typer.Option("", "--models", help="Models with commas between; all where empty."),
    horizons: str = typer.Option("", "--horizons", help="Days ahead with commas; 1,7,14,30 where empty."),
    out: Out = Path("reports"),
    seed: int = typer.Option(1, "--seed", help="Seed of every model that draws."),
    jobs: int = typer.Option(2, "--jobs", min=1, help="Worker processes."),
    config_dir: ConfigDir = None,
    interval: str = typer.Option(
        "1d", "--interval", help="1d: daily candles and models; 1h: hourly candles (Parquet) and `intraday`."
    ),
    risk: bool = typer.Option(
        False, "--risk", help="Evaluate risk answers instead: value at risk, touches, joint paths."
    ),
    as_json: AsJson = False,
) -> None:
    """Evaluate every model, baseline and peer out of sample: evaluation.json, .html and
    predictions.parquet.
    """
    from coincast_training.evaluation.options import BadOptionError, EvaluationOptions, days_ahead  # noqa: PLC0415
    from coincast_training.evaluation.runner import evaluate as run  # noqa: PLC0415 - brings the peers' libraries

    if interval not in ("1d", "1h"):
        raise InvalidInput(f"interval must be 1d or 1h; it is {interval!r}.", field="interval")
    if risk and interval == "1h":
        raise InvalidInput("risk answers are evaluated on daily candles; leave out interval.", field="risk")
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
        )
        if interval == "1h":
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
        sys.stdout.write((out / name).read_text(encoding="utf-8"))
