"""Import of candle files into the archive, with a report on each file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa

from coincast_chassis.errors import InvalidInput
from coincast_chassis.observability.error_text import without_path
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.revisions import UnreadableArchive
from coincast_market_data.archive.row_validation import Checked, check_file
from coincast_market_data.archive.store import Archive, read_candles
from coincast_market_data.domain import Candle, HourlyCandle
from coincast_market_data.history.candle_builder import HOUR_SECONDS
from coincast_market_data.identifiers import canonical_id
from coincast_modelkit.candle_files.daily import candle_files as files_of_folder
from coincast_modelkit.candle_files.daily import file_fault, read_file
from coincast_modelkit.candle_files.tables import CandleFileError, coin_of_file

NOT_CANDLES = ("order.json", "report.json")


@dataclass(frozen=True, slots=True)
class FileReport:
    """The report on one file; if `refused` is not empty, it says why nothing was imported."""

    file: str
    rows: int = 0
    added: int = 0
    first_day: date | None = None
    last_day: date | None = None
    gaps: int = 0
    rejected: Mapping[str, int] | None = None
    refused: str = ""
    # File, line and reason of the first rejected rows.
    set_aside: tuple[str, ...] = ()
    # For a file of hours: hours that are new in the archive, that are missing between its first and last
    # one, and that were left out as past retention or tenfold off the hours before them.
    hours_added: int = 0
    hour_gaps: int = 0
    hours_left_out: int = 0


def candle_files(folder: Path) -> list[Path]:
    """Return the candle files of a folder, by name.

    Raises:
        InvalidInput: The folder does not exist, or has no candle file.
    """
    try:
        # A folder of the inbox also has the order and the report.
        return [path for path in files_of_folder(folder) if path.name not in NOT_CANDLES]
    except CandleFileError as error:
        raise InvalidInput(str(error)) from error


async def import_file(
    path: Path,
    archive: Archive,
    currency: str,
    last_closed: date,
    *,
    hours: HourlyArchive | None = None,
    with_arrivals: bool = False,
) -> FileReport:
    """Validate a candle file and merge its valid rows into the archive. Stored days and hours never change.

    Of a file of hours both the hours and the whole days that they form are stored.

    Args:
        path: The file, named after its coin.
        archive: The archive of days.
        currency: The canonical code.
        last_closed: The newest closed day.
        hours: The archive of hours; None leaves the hours out.
        with_arrivals: Whether another replica wrote the file, so that it has the time of arrival of each day.
            The days of a user's file have none, since the time of its import does not say when they became
            known.
    """
    try:
        coin = canonical_id(coin_of_file(path))
        rows, checked, hourly = await asyncio.to_thread(_read_and_check, path, last_closed)
    except (InvalidInput, OSError, ValueError, pa.ArrowException) as error:
        return FileReport(path.name, refused=getattr(error, "message", without_path(error)))
    refused = file_fault(rows, len(checked.candles), checked.rejected)
    candles: Sequence[Candle] = checked.candles
    if with_arrivals and not refused:
        candles = await asyncio.to_thread(_with_arrivals, path, candles)
    added = 0 if refused else await archive.add(coin, currency, candles)
    hours_added, left_out = 0, 0
    if hours is not None and hourly.candles and not refused:
        hours_added, left_out = await _add_hours(hours, coin, currency, hourly.candles, last_closed)
    return FileReport(
        file=path.name,
        rows=rows,
        added=added,
        first_day=candles[0].day if candles else None,
        last_day=candles[-1].day if candles else None,
        gaps=len(checked.gaps),
        rejected=dict(checked.rejected),
        refused=refused,
        set_aside=tuple(checked.named),
        hours_added=hours_added,
        hour_gaps=hourly.gaps,
        hours_left_out=left_out,
    )


@dataclass(frozen=True, slots=True)
class HoursOfFile:
    """The hours of a file of hours, and how many are missing between them."""

    candles: Sequence[HourlyCandle]
    gaps: int


async def _add_hours(
    hours: HourlyArchive, coin: str, currency: str, candles: Sequence[HourlyCandle], last_closed: date
) -> tuple[int, int]:
    """Merge hours into the archive; return how many are new, and how many were left out."""
    before = {candle.start for candle in await hours.read(coin, currency)}
    midnight = datetime.combine(last_closed, time(), UTC) + timedelta(days=1)
    newest = int(midnight.timestamp()) - HOUR_SECONDS
    await hours.add(coin, currency, candles, newest)
    after = {candle.start for candle in await hours.read(coin, currency)}
    return len(after - before), sum(candle.start not in after for candle in candles)


def _read_and_check(path: Path, last_closed: date) -> tuple[int, Checked, HoursOfFile]:
    """Return the number of rows, the validated days, and the hours of a file.

    It takes long for a long file, so it runs in a thread.
    """
    # The reader takes one row at a time, since freeing a long list of rows would block all other threads.
    found = read_file(path, last_closed)
    hours = [
        HourlyCandle(start, c.close, open=c.open, high=c.high, low=c.low, volume=c.volume)
        for start, c in found.hours
    ]
    return found.rows, check_file(found), HoursOfFile(hours, found.hour_gaps)


def _with_arrivals(path: Path, candles: Sequence[Candle]) -> list[Candle]:
    """Return the candles with the times of arrival from a file in the archive's own format."""
    try:
        arrivals = {candle.day: candle.received_at for candle in read_candles(path)}
    except UnreadableArchive:
        # The file was not written by a replica, so the times are unknown.
        return list(candles)
    return [replace(candle, received_at=arrivals.get(candle.day)) for candle in candles]
