"""Terminal output: progress, the warning about the sandbox, a forecast as a table."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from coincast_stack.stack import Stack
from coincast_stack.status.market import UpstreamView

STEP = 0.1


def console() -> Console:
    """Return the console of standard output; without a terminal it is wide enough for the forecast table."""
    return Console() if sys.stdout.isatty() else Console(width=110)


def start_progress(out: Console) -> ProgressBar | ProgressLines:
    """Return a bar for a terminal, lines for a log."""
    return ProgressBar(out) if out.is_terminal else ProgressLines(out)


class ProgressBar:
    """A progress bar at the bottom of a terminal: stage, progress, the upstream's work, elapsed time."""

    def __init__(self, out: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[upstream]}", style="dim"),
            TimeElapsedColumn(),
            console=out,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, upstream="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, text: str, share: float | None) -> None:
        """Show a stage and its progress, 0 to 1; None if the progress is unknown."""
        total = None if share is None else 1.0
        self._bar.update(self._task, description=escape(text), total=total, completed=share or 0.0)

    def show_upstream(self, view: UpstreamView | None) -> None:
        """Show the upstream's current work."""
        self._bar.update(self._task, upstream=escape(view.work if view else ""))


class ProgressLines:
    """Prints a line when the stage changes or its progress has grown by a tenth, which keeps logs short."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._began = time.monotonic()
        self._last: tuple[str, int] | None = None
        self._fetching = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show_upstream(self, view: UpstreamView | None) -> None:
        """Print a line when the upstream starts to fetch something else."""
        fetching = view.fetching if view else ""
        if view and fetching and fetching != self._fetching:
            # The stage has not changed, so it is not printed again after this line.
            self._print(view.work, "")
        self._fetching = fetching

    def __call__(self, text: str, share: float | None) -> None:
        """Print a stage and its progress, 0 to 1; None if the progress is unknown."""
        mark = (text, int((share or 0.0) / STEP))
        if mark == self._last:
            return
        self._last = mark
        self._print(text, f" {share:4.0%}" if share else "")

    def _print(self, text: str, percent: str) -> None:
        seconds = time.monotonic() - self._began
        self._out.print(f"[dim]{seconds:6.1f} s[/]  {escape(text)}{percent}", highlight=False)


class UpstreamProblems:
    """Prints a line with the remedy when the upstream fails, and one when it answers again."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._cause = ""

    def show(self, view: UpstreamView | None) -> None:
        """Print the problem if its cause has changed; problems with the same cause are not repeated."""
        if view is None or not view.tried or view.cause == self._cause:
            return
        self._cause = view.cause
        text = view.problem or "The upstream answers again."
        self._out.print(text, style="bold red" if view.problem else "green", markup=False, soft_wrap=True)

    def note_shown(self, cause: str) -> None:
        """Note that a problem with this cause was printed elsewhere."""
        self._cause = cause


def sandbox_warning(stack: Stack, data: str) -> Panel:
    """Return the panel that warns that this is not real market data."""
    replayed = (
        f"It replays the candles of {escape(data)}, shifted in time" if data else "It simulates 300 coins"
    )
    text = (
        f"[bold]NOT REAL MARKET DATA: the sandbox replaces CoinGecko.[/]\n{replayed}; "
        f'every reply says "source": "sandbox".\nSet UPSTREAM=coingecko for real market data.'
    )
    return Panel(text, border_style="bold red", style="yellow")


def forecast_table(forecast: dict[str, Any]) -> Table:
    """Return one coin's forecast as a table: one row per day with the median and its intervals."""
    points = forecast["points"]
    levels = list(points[0]["intervals"])
    served = f"{forecast['served_by']} {forecast['version']}".strip() + f", source {forecast['source']}"
    last = f"{_money(forecast['last_price'])} at {forecast['as_of'][:16].replace('T', ' ')} UTC"
    title = f"{forecast['id']} in {forecast['vs_currency']}: {last}  ({served})"
    table = Table(title=title, title_justify="left")
    table.add_column("close of")
    table.add_column("median", justify="right")
    for level in levels:
        table.add_column(f"{level} % interval", justify="right")
    for point in points:
        spans = [point["intervals"][level] for level in levels]
        ranges = [f"{_money(span['lower'])} .. {_money(span['upper'])}" for span in spans]
        table.add_row(point["date"], _money(point["price"]), *ranges)
    return table


def _money(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.6g}"
