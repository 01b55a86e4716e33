"""Takes a folder of candle files into the archive, one verdict a file."""

from __future__ import annotations

import asyncio
import csv
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coincast_chassis.errors import InvalidInput
from coincast_market_data.archive.row_validation import Checked, check_columns, check_rows
from coincast_market_data.archive.store import Archive
from coincast_market_data.identifiers import canonical_id

SUFFIXES = (".csv", ".parquet")
# A file of which more than this is wrong is not what it says it is.
MOST_REJECTED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file; `refused` says why nothing of it was taken."""

    file: str
    rows: int = 0
    added: int = 0
    first_day: date | None = None
    last_day: date | None = None
    gaps: int = 0
    rejected: Mapping[str, int] | None = None
    refused: str = ""


def candle_files(folder: Path) -> list[Path]:
    """The files that may hold candles, by name. Raises InvalidInput where there is none."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder: name one with files <coin id>.csv or <coin id>.parquet")
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not files:
        raise InvalidInput(f"{folder} has no .csv or .parquet file")
    return files


async def import_file(path: Path, archive: Archive, currency: str, last_closed: date) -> FileReport:
    """Validate a file named after its coin, and merge what is good. Days already kept stay as they are."""
    try:
        coin = canonical_id(path.stem)
        rows, checked = await asyncio.to_thread(_read_and_check, path, last_closed)
    except (InvalidInput, OSError, ValueError, csv.Error, pa.ArrowException) as error:
        return FileReport(path.name, refused=getattr(error, "message", str(error)))
    refused = _refusal(checked, rows)
    added = 0 if refused else await archive.add(coin, currency, checked.candles)
    candles = checked.candles
    return FileReport(
        file=path.name,
        rows=rows,
        added=added,
        first_day=candles[0].day if candles else None,
        last_day=candles[-1].day if candles else None,
        gaps=len(checked.gaps),
        rejected=dict(checked.rejected),
        refused=refused,
    )


def _read_and_check(path: Path, last_closed: date) -> tuple[int, Checked]:
    """(rows, what is good of them); long for a long file, so for a thread."""
    rows = itertools.count()
    # One row at a time: to give up a long list would stop every other thread meanwhile.
    checked = check_rows((row for row, _ in zip(_read(path), rows, strict=False)), last_closed)
    return next(rows), checked


def _refusal(checked: Checked, rows: int) -> str:
    bad = sum(checked.rejected.values())
    if not checked.candles:
        return "holds no usable row" if rows else "is empty"
    if bad > max(1, rows * MOST_REJECTED_SHARE):
        worst, count = checked.rejected.most_common(1)[0]
        return f"{bad} of {rows} rows are wrong (mostly: {worst}, {count})"
    return ""


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        _check_header(path, [name.strip() for name in reader.fieldnames or ()])
        yield from reader


def _read_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    table = pq.read_table(path)
    _check_header(path, table.column_names)
    yield from table.to_pylist()


def _check_header(path: Path, names: list[str]) -> None:
    wrong = check_columns(names)
    if wrong:
        raise InvalidInput(f"{path.name} {wrong}; it needs date,open,high,low,close,volume")
