"""`python -m coincast_training.evaluation --data DIR`: walks, measures, writes the reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coincast_training.evaluation.command import evaluate
from coincast_training.evaluation.options import BadOptionError, Options, days_ahead

USAGE_ERROR = 2


def main(
    *,
    data: Annotated[Path, typer.Option(help="Folder of daily candles, one <coin id>.csv a coin.")],
    first: Annotated[
        str, typer.Option("--from", help="First day forecasts are made on, as 2022-01-01.")
    ] = "",
    last: Annotated[str, typer.Option("--to", help="Last day forecasts are made on.")] = "",
    coins: Annotated[str, typer.Option(help="Coin ids, comma-separated; all if empty.")] = "",
    models: Annotated[str, typer.Option(help="Product models, comma-separated; all if empty.")] = "",
    horizons: Annotated[str, typer.Option(help="Days ahead, comma-separated; 1,7,14,30 if empty.")] = "",
    out: Annotated[Path, typer.Option(help="Where the reports are written.")] = Path("reports"),
    seed: Annotated[int, typer.Option(help="Seed of every model that draws.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    config_dir: Annotated[
        Path | None, typer.Option(envvar="TRAINING_CONFIG_DIR", help="Folder of recipes; the installed ones.")
    ] = None,
) -> None:
    """Walk-forward evaluation of every model, baseline and peer."""
    try:
        evaluate(
            Options(
                data=data,
                out=out,
                first=first,
                last=last,
                coins=_names(coins),
                models=_names(models),
                seed=seed,
                jobs=jobs,
                config_dir=config_dir,
                horizons=days_ahead(_names(horizons)),
            )
        )
    except BadOptionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace(" ", ",").split(",") if part.strip())


if __name__ == "__main__":
    typer.run(main)
