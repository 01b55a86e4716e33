"""The command line: `import` fills the archive from files; the other commands are in `remote.py`."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import CoincastError
from coincast_chassis.settings import load_settings
from coincast_market_data.app import archive_folder
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.importer import FileReport, candle_files
from coincast_market_data.archive.inbox import Inbox, report_of
from coincast_market_data.archive.store import Archive, submit_files
from coincast_market_data.cli.remote import backfill, quality, repair
from coincast_market_data.identifiers import canonical_currency
from coincast_market_data.settings import Settings

cli = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Commands of the market-data service.",
)


cli.command("backfill")(backfill)
cli.command("repair")(repair)
cli.command("quality")(quality)


@cli.command("import")
def import_candles(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of <coin id>.csv or .parquet files: date,open,high,low,close,volume.",
            metavar="FOLDER",
        ),
    ],
    currency: Annotated[str, typer.Option(help="The currency of the prices.", metavar="CODE")] = "usd",
    wait_seconds: Annotated[
        float, typer.Option(help="Longest wait for a running service to import the files.", metavar="SECONDS")
    ] = 120.0,
) -> None:
    """Validate a folder of daily or hourly candles and merge it into the archive.

    Exit code 1 if a file was refused. While a service is running, the service imports the files and this
    command prints its report.
    """
    settings = load_settings(Settings)
    archive = Archive(archive_folder(settings))
    try:
        files, code = candle_files(folder), canonical_currency(currency)
        archive.open()
        if not archive.is_writer:
            typer.echo(f"a running service writes {archive.root} and imports the files", err=True)
        hours = HourlyArchive(archive, retention_days=settings.hourly_retention_days)
        reports = asyncio.run(_import(archive, hours, files, code, wait_seconds))
    except (CoincastError, OSError) as error:
        typer.echo(f"import: {error}", err=True)
        raise typer.Exit(2) from None
    finally:
        archive.close()
    _show(reports)
    raise typer.Exit(1 if any(report.refused for report in reports) else 0)


async def _import(
    archive: Archive, hours: HourlyArchive, files: list[Path], currency: str, wait_seconds: float
) -> list[FileReport]:
    order = submit_files(archive.root, files, currency)
    return await report_of(order, Inbox(archive, SystemClock(), hours), wait_seconds)


def _show(reports: list[FileReport]) -> None:
    columns = ("file", "rows", "added", "first", "last", "gaps", "hours", "rejected", "result")
    table = Table(*columns)
    for report in reports:
        aside = ", ".join(f"{count} {reason}" for reason, count in (report.rejected or {}).items())
        table.add_row(
            report.file,
            str(report.rows),
            str(report.added),
            _day(report.first_day),
            _day(report.last_day),
            str(report.gaps),
            _hours(report),
            aside or "-",
            f"refused: {report.refused}" if report.refused else "taken",
        )
    Console(width=160).print(table)
    for report in reports:
        for line in report.set_aside:
            typer.echo(f"rejected: {line}")
    total = sum(report.added for report in reports)
    refused = sum(bool(report.refused) for report in reports)
    typer.echo(f"{total} candles new or richer; {refused} of {len(reports)} files refused")


def _hours(report: FileReport) -> str:
    """Return how many hours of a file are new, missing and left out; `-` for a file of days."""
    if not (report.hours_added or report.hour_gaps or report.hours_left_out):
        return "-"
    parts = [f"{report.hours_added} new"]
    parts += [f"{report.hour_gaps} missing"] if report.hour_gaps else []
    parts += [f"{report.hours_left_out} left out"] if report.hours_left_out else []
    return ", ".join(parts)


def _day(day: date | None) -> str:
    return day.isoformat() if day else "-"
