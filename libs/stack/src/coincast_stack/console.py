"""What a person sees at the terminal: progress, the warning about the sandbox, a forecast as a table."""

import sys
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from coincast_stack.errors import ChildDeathError
from coincast_stack.stack import Stack

STEP = 0.1


def console() -> Console:
    """Standard output; wide enough for the table where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=110)


class ProgressLines:
    """Prints a line when the stage changes, or the share has moved by a tenth; never floods a log."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._began = time.monotonic()
        self._last: tuple[str, int] | None = None

    def __call__(self, text: str, share: float | None) -> None:
        """A stage, and how far it is (0..1) where that is known."""
        mark = (text, int((share or 0.0) / STEP))
        if mark == self._last:
            return
        self._last = mark
        percent = f" {share:4.0%}" if share else ""
        seconds = time.monotonic() - self._began
        self._out.print(f"[dim]{seconds:6.1f} s[/]  {escape(text)}{percent}", highlight=False)


def sandbox_warning(stack: Stack, data: str) -> Panel:
    """The lines that nobody can miss."""
    replayed = f"It replays the candles of {data}, on a day of its own" if data else "It simulates 300 coins"
    text = (
        f"[bold]NOT REAL MARKET DATA: the sandbox stands in for CoinGecko.[/]\n{replayed}; "
        f'every reply says "source": "sandbox".\nUPSTREAM=coingecko takes the real one.'
    )
    return Panel(text, border_style="bold red", style="yellow")


def say_death(death: ChildDeathError, out: Console) -> None:
    """Names the process with its last log lines, as they are: brackets in them are no markup."""
    out.print(str(death), style="bold red", markup=False, highlight=False, soft_wrap=True)


def forecast_table(forecast: dict[str, Any]) -> Table:
    """One coin's forecast: a row a day, the median and its intervals."""
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
