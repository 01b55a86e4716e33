"""Import of a folder of candle files into the archive, with a report on each file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pyarrow as pa

from coincast_chassis.errors import InvalidInput
from coincast_market_data.archive.parquet_files import UnreadableArchive, read_candles
from coincast_market_data.archive.row_validation import Checked, check_file
from coincast_market_data.archive.store import Archive
from coincast_market_data.domain import Candle
from coincast_market_data.identifiers import canonical_id
from coincast_modelkit.candle_files.daily import candle_files as files_of_folder
from coincast_modelkit.candle_files.daily import read_file
from coincast_modelkit.candle_files.tables import CandleFileError, coin_of_file

# A file with a larger share of invalid rows is refused as a whole.
MOST_REJECTED_SHARE = 0.05
MAX_NAMED = 100
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
    path: Path, archive: Archive, currency: str, last_closed: date, *, with_arrivals: bool = False
) -> FileReport:
    """Validate a file named after its coin, and merge what is valid. Stored days never change.

    Args:
        path: The file.
        archive: Where its days go.
        currency: Canonical code.
        last_closed: The newest closed day.
        with_arrivals: Whether the file was written by another replica and says when each day came. When a
            user's file is imported says nothing of when its days could be known.
    """
    try:
        coin = canonical_id(coin_of_file(path))
        rows, checked = await asyncio.to_thread(_read_and_check, path, last_closed)
    except (InvalidInput, OSError, ValueError, pa.ArrowException) as error:
        return FileReport(path.name, refused=getattr(error, "message", str(error)))
    refused = _refusal(checked, rows)
    candles: Sequence[Candle] = checked.candles
    if with_arrivals and not refused:
        candles = await asyncio.to_thread(_with_arrivals, path, candles)
    added = 0 if refused else await archive.add(coin, currency, candles)
    return FileReport(
        file=path.name,
        rows=rows,
        added=added,
        first_day=candles[0].day if candles else None,
        last_day=candles[-1].day if candles else None,
        gaps=len(checked.gaps),
        rejected=dict(checked.rejected),
        refused=refused,
        set_aside=tuple(checked.named[:MAX_NAMED]),
    )


def _read_and_check(path: Path, last_closed: date) -> tuple[int, Checked]:
    """Return the number of rows and the good ones; takes long for a long file, so it runs in a thread."""
    # The reader takes one row at a time: to release a long list would stop every other thread meanwhile.
    found = read_file(path, last_closed)
    return found.rows, check_file(found)


def _with_arrivals(path: Path, candles: Sequence[Candle]) -> list[Candle]:
    """Return the candles with the times of a file in the archive's own format."""
    try:
        arrivals = {candle.day: candle.received_at for candle in read_candles(path)}
    except UnreadableArchive:
        # Readable as candles, but not written by a replica: the times are unknown.
        return list(candles)
    return [replace(candle, received_at=arrivals.get(candle.day)) for candle in candles]


def _refusal(checked: Checked, rows: int) -> str:
    bad = sum(checked.rejected.values())
    if not checked.candles:
        return "holds no usable row" if rows else "is empty"
    if bad > max(1, rows * MOST_REJECTED_SHARE):
        worst, count = checked.rejected.most_common(1)[0]
        return f"{bad} of {rows} rows are wrong (mostly: {worst}, {count})"
    return ""
