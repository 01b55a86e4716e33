"""`python -m coincast_stack run|demo|doctor|import|rehearse`: the commands behind the Makefile's targets.

Each command imports what it needs when it runs. On a busy machine these imports take seconds, and `run`
begins to check CoinGecko before them.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from coincast_stack.errors import StackError
from coincast_stack.options import RehearsedPlan, StackOptions, Upstream
from coincast_stack.upstream.check import begin_check

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, help="Run Coincast as processes on this machine."
)
Result = TypeVar("Result")

UpstreamOption = Annotated[Upstream, typer.Option(envvar="UPSTREAM", help="Source of market data.")]
DataOption = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        envvar="DATA",
        help="Folder of <coin id>.csv files that the sandbox replays; by default it simulates a market.",
    ),
]
RedisOption = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="REDIS_URL",
        help="Address of a running Redis; by default an embedded server is started.",
    ),
]


VarOption = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER", envvar="VAR_DIR", help="Folder of the system's state: archive, models, logs."
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        envvar="COINGECKO_API_KEY",
        show_envvar=True,
        help="CoinGecko's API key; the default is the keyless plan.",
    ),
]


@app.command("up", hidden=True)
@app.command("run")
def run_command(
    upstream: UpstreamOption = Upstream.AUTO,
    data: DataOption = "",
    redis_url: RedisOption = "",
    *,
    port: Annotated[int, typer.Option(envvar="PORT", help="Port of the gateway.", metavar="N")] = 8000,
    var_dir: VarOption = Path("var"),
    api_key: KeyOption = "",
) -> None:
    """Start the whole system and keep it running until Ctrl-C."""
    check = begin_check(upstream, api_key, lambda text: typer.secho(text, fg="red", bold=True))
    from coincast_stack.console import console
    from coincast_stack.run import run

    options = StackOptions(
        var_dir,
        upstream,
        _folder(data),
        port,
        redis_url=redis_url,
        later=("ml_ensemble",),
        coingecko_api_key=api_key,
        admin_token=secrets.token_urlsafe(18),
    )
    _run_to_exit_code(run(options, console(), check))


@app.command("doctor")
def doctor_command(
    redis_url: RedisOption = "",
    *,
    port: Annotated[int, typer.Option(envvar="PORT", help="Port of the gateway.", metavar="N")] = 8000,
    var_dir: VarOption = Path("var"),
    api_key: KeyOption = "",
) -> None:
    """Check upstream, key and plan, Redis, disk, port and versions; exit code 1 if a check fails."""
    from coincast_stack.console import console
    from coincast_stack.doctor import examine, setup_of, show

    setup = setup_of(os.environ, var_dir, port, redis_url=redis_url, api_key=api_key)
    raise typer.Exit(show(asyncio.run(examine(setup)), console()))


@app.command("import")
def import_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of daily candles: CSV, Parquet, freqtrade's feather and JSON, CryptoDataDownload.",
            metavar="FOLDER",
        ),
    ],
    *,
    currency: Annotated[str, typer.Option(help="The currency of the prices.", metavar="CODE")] = "usd",
    var_dir: VarOption = Path("var"),
) -> None:
    """Import a folder of candle files into the archive; the system may be running or stopped.

    Rejected rows are listed with their line; exit code 1 if a file was refused.
    """
    from coincast_stack.state_file import read_state_file

    running = read_state_file(var_dir)
    upstream = Upstream(running.upstream) if running is not None else Upstream.COINGECKO
    state = Path(running.state_dir) if running is not None else var_dir
    code = subprocess.call(
        [sys.executable, "-m", "coincast_market_data", "import", str(folder), "--currency", currency],
        env={**os.environ, "MARKET_ARCHIVE_DIR": str(state / "archive"), "MARKET_UPSTREAM": str(upstream)},
    )
    raise typer.Exit(code)


@app.command("rehearse")
def rehearse_command(
    plan: Annotated[
        RehearsedPlan, typer.Option(envvar="PLAN", help="CoinGecko's plan.")
    ] = RehearsedPlan.KEYLESS,
) -> None:
    """Rehearse a start under the limits of a CoinGecko plan, with a time line; exit code 1 if it fails."""
    from coincast_stack.console import console
    from coincast_stack.rehearsal.rehearse import rehearse
    from coincast_stack.rehearsal.time_line import TimeLine

    with tempfile.TemporaryDirectory(prefix="coincast-rehearsal-") as folder:
        time_line = TimeLine(console())
        record = _run_to_exit_code(rehearse(plan, Path(folder), time_line.say))
    raise typer.Exit(time_line.summarize(record))


@app.command("demo")
def demo_command(
    upstream: UpstreamOption = Upstream.AUTO,
    data: DataOption = "",
    redis_url: RedisOption = "",
    *,
    coin: Annotated[str, typer.Option(envvar="COIN", help="CoinGecko id.", metavar="ID")] = "bitcoin",
    days: Annotated[int, typer.Option(envvar="DAYS", min=1, max=30, help="Days ahead.", metavar="N")] = 7,
    model: Annotated[
        str,
        typer.Option(envvar="MODEL", help="Model: lightgbm, lstm, ml_ensemble or technical.", metavar="NAME"),
    ] = "lightgbm",
    train: Annotated[
        bool,
        typer.Option(
            "--train", envvar="TRAIN", help="Train a model now, and do not install a starter version."
        ),
    ] = False,
) -> None:
    """Start all services, print one forecast of a starter version or a model trained now, and stop."""
    from coincast_stack.console import console
    from coincast_stack.demo import NO_ARTIFACT_NEEDED, demo

    models = () if model in NO_ARTIFACT_NEEDED else (model,)
    trained = {"TRAINING_STARTER": "false"} if train else {}
    with tempfile.TemporaryDirectory(prefix="coincast-demo-") as folder:
        options = StackOptions(
            Path(folder),
            upstream,
            _folder(data),
            redis_url=redis_url,
            train=models,
            coins=(coin,),
            coingecko_api_key=os.environ.get("COINGECKO_API_KEY", ""),
            extra_environment=trained,
        )
        reply = _run_to_exit_code(demo(options, coin, days, model, console()))
    sys.stdout.write(reply.decode() + "\n")


def _folder(text: str) -> Path | None:
    return Path(text) if text.strip() else None


def _run_to_exit_code(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine; convert a StackError to a line on stderr and an exit code."""
    try:
        return asyncio.run(_until_signal(work))
    except StackError as error:
        sys.stderr.write(f"coincast: {error}\n")
        raise typer.Exit(error.exit_code) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


async def _until_signal(work: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def main(arguments: Sequence[str]) -> int:
    """Run a command with the given arguments; return its exit code."""
    try:
        app(args=list(arguments), prog_name="coincast")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    app()
