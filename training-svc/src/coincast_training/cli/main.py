"""The command `coincast-training`."""

from __future__ import annotations

import logging
import sys

import structlog
import typer

from coincast_training import __version__
from coincast_training.cli import backtest, evaluate, jobs, registry, train
from coincast_training.cli.output import EXIT_HELP

app = typer.Typer(
    rich_markup_mode=None,
    help=f"Train model versions on price history; compare, promote and roll them back. {EXIT_HELP}",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
train.add_to(app)
backtest.add_to(app)
evaluate.add_to(app)
app.add_typer(registry.app, name="registry")
app.add_typer(jobs.app, name="jobs")


@app.command()
def version() -> None:
    """Print the version of this command."""
    sys.stdout.write(f"{__version__}\n")


@app.callback()
def _logs(verbose: bool = typer.Option(False, "--verbose", "-v", help="Write log events to stderr.")) -> None:
    """Show log events only if requested; otherwise only errors."""
    level = logging.INFO if verbose else logging.ERROR
    logging.basicConfig(stream=sys.stderr, level=level)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
