"""Parquet file of one coin's candles.

The file is written beside the old one and moved into place, so that a reader never sees half of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from coincast_market_data.domain import Candle

NUMBERS = ("open", "high", "low", "close", "volume", "market_cap")
# Archives that were written before `received_at` was kept lack the column: the time is then unknown.
ARRIVAL = "received_at"
SCHEMA = pa.schema(
    [("date", pa.date32()), *((name, pa.float64()) for name in NUMBERS), (ARRIVAL, pa.int64())]
)


class UnreadableArchive(Exception):  # noqa: N818 - the name describes the file
    """A file that is there but cannot be read as candles."""


def read_candles(path: Path) -> list[Candle]:
    """Read the candles in order of days; none where there is no file.

    Raises:
        UnreadableArchive: The file cannot be read.
    """
    if not path.exists():
        return []
    try:
        table = pq.read_table(path, schema=SCHEMA)
        columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UnreadableArchive(f"{path}: {error}") from error
    return [
        Candle(
            day=day,
            close=close,
            open=opened,
            high=high,
            low=low,
            volume=volume,
            market_cap=market_cap,
            received_at=received_at,
        )
        for day, opened, high, low, close, volume, market_cap, received_at in zip(*columns, strict=True)
    ]


def read_last(path: Path) -> tuple[date, float] | None:
    """Return the newest day and its close; None for a file that cannot be read."""
    try:
        table = pq.read_table(path, columns=["date", "close"])
        return (table["date"][-1].as_py(), table["close"][-1].as_py()) if len(table) else None
    except (pa.ArrowException, OSError, KeyError):
        return None


def read_extent(path: Path) -> tuple[int, date, date] | None:
    """Return (candles, first day, last day) from the file's footer; None for a file that cannot be read."""
    try:
        footer = pq.read_metadata(path)
        ranges = [footer.row_group(n).column(0).statistics for n in range(footer.num_row_groups)]
        return footer.num_rows, min(r.min for r in ranges), max(r.max for r in ranges)
    except (pa.ArrowException, OSError, ValueError, AttributeError):
        return None


def write_candles(path: Path, candles: Sequence[Candle]) -> None:
    """Replace the file as a whole; after a crash there is the old one or the new one."""
    columns: dict[str, list[object]] = {"date": [candle.day for candle in candles]}
    for name in NUMBERS:
        columns[name] = [getattr(candle, name) for candle in candles]
    # Whole seconds, equal for all days of one fetch: they take almost no room.
    columns[ARRIVAL] = [None if c.received_at is None else int(c.received_at) for c in candles]
    table = pa.table(columns, schema=SCHEMA)
    replace_file(path, lambda file: pq.write_table(table, file, compression="zstd"))


def replace_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Fill a file beside the path and move it there, on the disk before it is seen.

    Args:
        path: The file to replace.
        fill: Writes the content to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            # A temporary file is readable only for its owner, but a backup may run as another user.
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
