"""Output of commands: tables for people, JSON for programs, and documented exit codes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from coincast_chassis.errors import (
    CoincastError,
    Conflict,
    Exhausted,
    InvalidInput,
    NotFound,
    NotReady,
    Timeout,
    Unavailable,
)
from coincast_training.trainers import progress as reporting

EXIT_CODES: dict[type[CoincastError], int] = {
    InvalidInput: 2,
    NotFound: 3,
    NotReady: 4,
    Conflict: 5,
    Exhausted: 6,
    Unavailable: 7,
    Timeout: 7,
}
EXIT_HELP = (
    "Exit codes: 0 success; 1 an internal error or a failed job; 2 invalid input; 3 not found; "
    "4 not ready or refused by the gate; 5 a conflicting change; 6 a limit is used up; "
    "7 a service that does not answer; 130 interrupted."
)
P = ParamSpec("P")
R = TypeVar("R")
errors = Console(stderr=True)


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command so that its errors become one line on stderr and an exit code."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CoincastError as error:
            hint = f" Did you mean {', '.join(error.suggestions)}?" if error.suggestions else ""
            errors.print(error.message + hint, style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(EXIT_CODES.get(type(error), 1)) from None
        except KeyboardInterrupt:
            errors.print("Interrupted.")
            raise typer.Exit(130) from None

    return wrapper


def announce_market(sentence: str) -> None:
    """Print the source of histories on stderr."""
    errors.print(f"Market data: {sentence}.", markup=False, highlight=False, soft_wrap=True)


def show(value: Any, as_json: bool, table: Callable[[], RenderableType]) -> None:
    """Print a value on stdout as JSON or as a table."""
    if as_json:
        sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
    else:
        Console().print(table())


def plain(value: Any) -> Any:
    """Convert dataclasses and tuples to JSON values; NaN and infinities become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table of plain values; None is shown as a dash.

    It has no borders, so that eight columns of figures fit into a terminal of 60 columns.
    """
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for n, name in enumerate(columns):
        numbers = all(row[n] is None or isinstance(row[n], int | float) for row in rows)
        table.add_column(name, justify="right" if numbers and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else _cell(cell) for cell in row))
    return table


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[reporting.Progress]:
    """Yield a function that updates a progress bar with remaining time on stderr; silent if `quiet`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=quiet, transient=False) as bar:
        task = bar.add_task("starting", total=1.0)

        def report(fraction: float, stage: str) -> None:
            bar.update(task, completed=fraction, description=stage[:60])

        yield report
