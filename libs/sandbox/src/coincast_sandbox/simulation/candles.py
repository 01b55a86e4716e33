"""Daily candles of a coin, and how they are read from a folder of files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
EPOCH = date(1970, 1, 1)
COLUMNS = ("date", "open", "high", "low", "close", "volume_usd")


class CandlesError(Exception):
    """A folder or a file of candles that cannot be read; the message names it, the line and the fault."""


@dataclass(frozen=True, slots=True)
class DailyCandles:
    """Candles of consecutive UTC days.

    `first_day` counts days from 1970-01-01; arrays are (n,), money in USD.
    """

    first_day: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @property
    def last_day(self) -> int:
        """The day of the newest candle, counted from 1970-01-01."""
        return self.first_day + len(self.close) - 1


def day_number(day: date) -> int:
    """Return the days from 1970-01-01 to `day`."""
    return (day - EPOCH).days


def day_of(number: int) -> date:
    """Return the date of a day number."""
    return EPOCH + timedelta(days=number)


def midnight(number: int) -> float:
    """Return UNIX seconds at the start of a UTC day."""
    return float(number) * 86400.0


def iso(unix_seconds: float) -> str:
    """Return a time as CoinGecko writes it: `2025-09-01T13:00:00.000Z`."""
    text = datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def read_folder(folder: Path) -> dict[str, DailyCandles]:
    """Read every `<coin id>.csv` of a folder.

    Raises:
        CandlesError: Names the folder or file.
    """
    if not folder.is_dir():
        raise CandlesError(f"no such folder of candles: {folder}")
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise CandlesError(f"no candle files (<coin id>.csv) in {folder}")
    return {file.stem: read_file(file) for file in files}


def read_file(file: Path) -> DailyCandles:
    """Read a CSV file: date,open,high,low,close,volume_usd; one row a UTC day, no gaps.

    Raises:
        CandlesError: Names the file, the line and the fault.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CandlesError(f"cannot read {file}: {_plain(error)}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise CandlesError(f"{file} line 1: the header must be {','.join(COLUMNS)}")
    if len(rows) < 3:
        raise CandlesError(f"{file}: needs at least two days of candles")
    return _assemble(file, rows[1:])


def _assemble(file: Path, rows: Iterable[list[str]]) -> DailyCandles:
    days: list[int] = []
    figures: list[list[float]] = []
    for line, row in enumerate(rows, start=2):
        day, values = _parse(f"{file} line {line}", row)
        if days and day != days[-1] + 1:
            raise CandlesError(f"{file} line {line}: {day_of(day)} does not follow {day_of(days[-1])}")
        days.append(day)
        figures.append(values)
    columns = np.array(figures, dtype=np.float64).T
    return DailyCandles(days[0], *columns)


def _parse(where: str, row: list[str]) -> tuple[int, list[float]]:
    try:
        day = day_number(date.fromisoformat(row[0]))
        values = [float(text) for text in row[1:]]
    except (ValueError, IndexError) as error:
        raise CandlesError(f"{where}: {error}") from error
    if len(values) != 5 or not all(math.isfinite(value) for value in values):
        raise CandlesError(f"{where}: five finite numbers must follow the date")
    opened, high, low, close, volume = values
    if not 0 < low <= min(opened, close) <= max(opened, close) <= high or volume < 0:
        raise CandlesError(f"{where}: needs 0 < low <= open, close <= high and volume >= 0")
    return day, values


def _plain(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
