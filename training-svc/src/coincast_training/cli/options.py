"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coincast_chassis.settings import load_settings
from coincast_training.domain import TRAINED_MODELS
from coincast_training.executors.factory import parts_of
from coincast_training.market_access import find_running_stack
from coincast_training.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Ids = Annotated[
    str, typer.Option("--ids", help="CoinGecko ids, comma-separated, like bitcoin,ethereum.", metavar="IDS")
]
Model = Annotated[str, typer.Option("--model", help=f"One of {', '.join(TRAINED_MODELS)}.", metavar="NAME")]
Days = Annotated[
    int, typer.Option("--days", help="Days of history, 90 to 10000; 0 for all available.", metavar="N")
]
Market = Annotated[
    str,
    typer.Option(
        "--market",
        help="Address of market-data; by default that of a running stack, else CoinGecko is called.",
        metavar="HOST:PORT",
    ),
]
Artifacts = Annotated[
    Path | None,
    typer.Option("--artifacts", help="Artifact folder; by default TRAINING_ARTIFACTS_DIR.", metavar="FOLDER"),
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        help="Address of the training service; by default that of a running stack, else 127.0.0.1:50053.",
        metavar="HOST:PORT",
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Reason, for the audit log.", metavar="TEXT")]
Who = Annotated[str, typer.Option("--by", help="Name of the requester, for the audit log.", metavar="NAME")]
ExecutorAddress = Annotated[
    str,
    typer.Option(
        "--executor",
        help="Executor of the fits: inline, processes, processes:N or dask:tcp://host:port.",
        metavar="ADDRESS",
    ),
]


def settings_with(*, market: str = "", artifacts: Path | None = None, executor: str = "") -> Settings:
    """Return the settings of the environment with the options of the command line.

    Raises:
        InvalidInput: The executor is not valid. This is checked before any history is fetched.
    """
    settings = load_settings(Settings)
    over: dict[str, object] = {}
    if market:
        over["market_target"] = market
    if artifacts is not None:
        over["artifacts_dir"] = artifacts
    if executor:
        parts_of(executor)
        over["executor"] = executor
    if "artifacts_dir" not in settings.model_fields_set | over.keys():
        running = find_running_stack()
        if running is not None and not market:
            over["artifacts_dir"] = running.artifacts_dir
    return settings.model_copy(update=over)


def split_ids(ids: str) -> tuple[str, ...]:
    """Split `a,b` or `a b` into a tuple."""
    return tuple(ids.replace(",", " ").split())
