"""Import of a folder of candle files into the archive, with a report on each file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa

from coincast_chassis.errors import InvalidInput
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.row_validation import Checked, check_file
from coincast_market_data.archive.store import Archive, UnreadableArchive, read_candles
from coincast_market_data.domain import Candle, HourlyCandle
from coincast_market_data.history.candle_builder import HOUR_SECONDS
from coincast_market_data.identifiers import canonical_id
from coincast_modelkit.candle_files.daily import candle_files as files_of_folder
from coincast_modelkit.candle_files.daily import file_fault, read_file
from coincast_modelkit.candle_files.tables import CandleFileError, coin_of_file

NOT_CANDLES = ("order.json", "report.json")


@dataclass(frozen=True, slots=True)
class FileReport:
    """The report on one file; `refused` says why nothing of it was imported."""

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
    # Of a file of hours: hours that are new in the archive, missing between its first and last, and left out
    # because they are past retention or tenfold off those before them.
    hours_added: int = 0
    hour_gaps: int = 0
    hours_left_out: int = 0


def candle_files(folder: Path) -> list[Path]:
    """Return the files that may hold candles, by name.

    Raises:
        InvalidInput: There is no such folder, or no such file in it.
    """
    try:
        # Orders and reports of the inbox lie beside the candles.
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
    """Validate a file named after its coin, and merge what is valid. Stored days and hours never change.

    Of a file of hours both are stored: the hours, and the whole days that they make.

    Args:
        path: The file.
        archive: Where its days go.
        currency: Canonical code.
        last_closed: The newest closed day.
        hours: Where the hours of a file of hours go; None leaves them out.
        with_arrivals: Whether the file was written by another replica and says when each day came. When a
            user's file is imported says nothing of when its days could be known.
    """
    try:
        coin = canonical_id(coin_of_file(path))
        rows, checked, hourly = await asyncio.to_thread(_read_and_check, path, last_closed)
    except (InvalidInput, OSError, ValueError, pa.ArrowException) as error:
        return FileReport(path.name, refused=getattr(error, "message", str(error)))
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
    """The hours of a file of hours, and how many are missing among them."""

    candles: Sequence[HourlyCandle]
    gaps: int


async def _add_hours(
    hours: HourlyArchive, coin: str, currency: str, candles: Sequence[HourlyCandle], last_closed: date
) -> tuple[int, int]:
    """Merge hours in; return how many are new, and how many the archive did not take."""
    before = {candle.start for candle in await hours.read(coin, currency)}
    midnight = datetime.combine(last_closed, time(), UTC) + timedelta(days=1)
    newest = int(midnight.timestamp()) - HOUR_SECONDS
    await hours.add(coin, currency, candles, newest)
    after = {candle.start for candle in await hours.read(coin, currency)}
    return len(after - before), sum(candle.start not in after for candle in candles)


def _read_and_check(path: Path, last_closed: date) -> tuple[int, Checked, HoursOfFile]:
    """Return the number of rows, the good ones by the day, and those by the hour.

    Takes long for a long file, so it runs in a thread.
    """
    # The reader takes one row at a time: to release a long list would stop every other thread meanwhile.
    found = read_file(path, last_closed)
    hours = [
        HourlyCandle(start, c.close, open=c.open, high=c.high, low=c.low, volume=c.volume)
        for start, c in found.hours
    ]
    return found.rows, check_file(found), HoursOfFile(hours, found.hour_gaps)


def _with_arrivals(path: Path, candles: Sequence[Candle]) -> list[Candle]:
    """Return the candles with the times of a file in the archive's own format."""
    try:
        arrivals = {candle.day: candle.received_at for candle in read_candles(path)}
    except UnreadableArchive:
        # Readable as candles, but not written by a replica: the times are unknown.
        return list(candles)
    return [replace(candle, received_at=arrivals.get(candle.day)) for candle in candles]
