"""Daily candles of a coin, and their reader for folders of files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candle_files.daily import DailyCandle, DailyFile
from coincast_modelkit.candle_files.daily import read_file as read_candle_file
from coincast_modelkit.candle_files.daily import read_folder as read_candle_folder
from coincast_modelkit.candle_files.tables import CandleFileError

Floats = npt.NDArray[np.float64]
EPOCH = date(1970, 1, 1)


class CandlesError(Exception):
    """A folder or file of candles cannot be read; the message names the file, the line and the fault."""


@dataclass(frozen=True, slots=True)
class DailyCandles:
    """Candles of consecutive UTC days.

    `first_day` counts days from 1970-01-01; arrays are (n,), prices and volume in USD.
    """

    first_day: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @property
    def last_day(self) -> int:
        """Return the day of the newest candle, counted from 1970-01-01."""
        return self.first_day + len(self.close) - 1


def day_number(day: date) -> int:
    """Return the number of days from 1970-01-01 to `day`."""
    return (day - EPOCH).days


def day_of(number: int) -> date:
    """Return the date of a day number."""
    return EPOCH + timedelta(days=number)


def midnight(number: int) -> float:
    """Return UNIX seconds at the start of a UTC day."""
    return float(number) * 86400.0


def iso(unix_seconds: float) -> str:
    """Format a time like CoinGecko: `2025-09-01T13:00:00.000Z`."""
    text = datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class CandleFolder:
    """The candles of a folder by coin, and the rejected rows with file and line."""

    candles: Mapping[str, DailyCandles]
    set_aside: tuple[str, ...] = ()


def read_folder(folder: Path, today: date | None = None) -> CandleFolder:
    """Read every candle file of a folder, up to the day before `today` if that is in the future.

    A file that cannot be used is reported, and the others are still read.

    Raises:
        CandlesError: The folder holds no usable file; the message names it and the reasons.
    """
    newest = max(today or date.min, datetime.now(UTC).date()) - timedelta(days=1)
    try:
        found = read_candle_folder(folder, newest)
    except CandleFileError as error:
        raise CandlesError(str(error)) from error
    candles: dict[str, DailyCandles] = {}
    notes = list(found.left_out)
    for file in found.files:
        own: list[str] = []
        try:
            candles[file.coin] = _assemble(file, own)
        except CandlesError as error:
            own = [f"{error}: the file is left out"]
        notes += own
    if not candles:
        raise CandlesError(f"no usable candle file in {folder}: {'; '.join(notes[:3])}")
    return CandleFolder(candles, tuple(notes))


def read_file(path: Path, today: date | None = None) -> DailyCandles:
    """Read the daily candles of one file; an absent day repeats the previous close.

    Raises:
        CandlesError: The file cannot be read.
    """
    newest = max(today or date.min, datetime.now(UTC).date()) - timedelta(days=1)
    try:
        return _assemble(read_candle_file(path, newest), [])
    except CandleFileError as error:
        raise CandlesError(str(error)) from error


def _assemble(found: DailyFile, notes: list[str]) -> DailyCandles:
    notes += found.named_rows()
    if len(found.candles) < 2:
        reasons = "; ".join(str(row) for row in found.set_aside[:3])
        unusable = f"; not used: {reasons}" if reasons else ""
        raise CandlesError(f"{found.file}: needs at least two days of candles{unusable}")
    first = found.candles[0].day
    figures: list[tuple[float, float, float, float, float]] = []
    for candle in found.candles:
        for _ in range((candle.day - first).days - len(figures)):
            close = figures[-1][3]
            figures.append((close, close, close, close, 0.0))
        figures.append(_figures(candle))
    if found.gaps:
        notes.append(f"{found.file}: {len(found.gaps)} absent days repeat the previous close")
    columns = np.array(figures, dtype=np.float64).T
    return DailyCandles(day_number(first), *columns)


def _figures(candle: DailyCandle) -> tuple[float, float, float, float, float]:
    """Return open, high, low, close, volume; absent prices follow from the others, absent volume is 0."""
    opened = candle.close if candle.open is None else candle.open
    high = max(opened, candle.close, candle.high or 0.0)
    low = min(opened, candle.close, candle.low or math.inf)
    return opened, high, low, candle.close, candle.volume or 0.0
