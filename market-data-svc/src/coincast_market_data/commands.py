"""The commands beside the service: `import` fills the archive from files."""

from __future__ import annotations

import asyncio
import time
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coincast_chassis.errors import CoincastError
from coincast_chassis.settings import load_settings
from coincast_market_data.app import archive_folder
from coincast_market_data.archive.importer import FileReport, candle_files, import_file
from coincast_market_data.archive.store import Archive
from coincast_market_data.history.days import last_closed_day
from coincast_market_data.keys import canonical_currency
from coincast_market_data.settings import Settings

cli = typer.Typer(add_completion=False, no_args_is_help=True, help="Commands of the market-data service.")


@cli.callback()
def _commands() -> None:
    """Keep `import` a command of its own."""


@cli.command("import")
def import_candles(
    folder: Annotated[
        Path, typer.Argument(help="Files <coin id>.csv or .parquet: date,open,high,low,close,volume")
    ],
    currency: Annotated[str, typer.Option(help="The currency of the prices.")] = "usd",
) -> None:
    """Validate a folder of daily candles and merge it into the archive; exit code 1 where a file was
    refused.
    """
    settings = load_settings(Settings)
    archive = Archive(archive_folder(settings))
    try:
        files = candle_files(folder)
        code = canonical_currency(currency)
        archive.open()
        archive.must_be_writer()
        reports = asyncio.run(_import(files, archive, code))
    except (CoincastError, OSError) as error:
        typer.echo(f"import: {error}", err=True)
        raise typer.Exit(2) from None
    finally:
        archive.close()
    _show(reports)
    raise typer.Exit(1 if any(report.refused for report in reports) else 0)


async def _import(files: list[Path], archive: Archive, currency: str) -> list[FileReport]:
    last = last_closed_day(time.time())
    return [await import_file(path, archive, currency, last) for path in files]


def _show(reports: list[FileReport]) -> None:
    table = Table("file", "rows", "added", "first", "last", "gaps", "put aside", "verdict")
    for report in reports:
        aside = ", ".join(f"{count} {reason}" for reason, count in (report.rejected or {}).items())
        table.add_row(
            report.file,
            str(report.rows),
            str(report.added),
            _day(report.first_day),
            _day(report.last_day),
            str(report.gaps),
            aside or "-",
            f"refused: {report.refused}" if report.refused else "taken",
        )
    Console(width=160).print(table)
    total = sum(report.added for report in reports)
    refused = sum(bool(report.refused) for report in reports)
    typer.echo(f"{total} candles new or richer; {refused} of {len(reports)} files refused")


def _day(day: date | None) -> str:
    return day.isoformat() if day else "-"
