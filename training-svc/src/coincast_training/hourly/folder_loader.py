"""Read a folder of hourly candles, one file for each coin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coincast_modelkit.candle_files.daily import NOT_WHOLE, DailyFile, candle_files, read_file
from coincast_modelkit.candle_files.tables import CandleFileError, coin_of_file
from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.candles import HourlyCandles, HourlyPanel
from coincast_training.evaluation.options import BadOptionError

TIME_NAMES = ("date_time", "time", "timestamp")
PRICES = ("open", "high", "low", "close")
# These columns are volumes in money. A Parquet file with only `volume` has a volume in coins.
MONEY_VOLUMES = ("quote_volume", "volume_usd", "total_volume")
# Prices of one hour may contradict each other by a rounding of the last digit, as those of a day.
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class HourlyFolder:
    """Hourly candles of a folder, and the warnings that reading its files gave."""

    panel: HourlyPanel
    notes: tuple[str, ...]


def read_hourly_folder(path: Path) -> HourlyFolder:
    """Read all candle files of a folder, in the formats of `coincast_modelkit.candle_files`.

    A Parquet file has `date_time` (UTC start of the hour) and `close`. It may also have `open`, `high` and
    `low`, and either `volume` in coins, or `quote_volume` or `volume_usd` in money. The notes name each
    rejected row by its line, and each file that cannot be used; the other files are still read.

    Raises:
        BadOptionError: The folder cannot be read, or no file in it has hours; the message names the fix.
    """
    last_day = (datetime.now(UTC) - timedelta(days=1)).date()
    try:
        files = candle_files(path)
    except CandleFileError as error:
        raise BadOptionError(
            f"DATA={path}: {error}; INTERVAL=1h needs a .parquet file per coin, with date_time and close."
        ) from error
    panel: dict[str, HourlyCandles] = {}
    notes: list[str] = []
    for file in files:
        coin = coin_of_file(file)
        try:
            candles = _read_clean_parquet(file, coin, last_day) or _read_rows(file, last_day, notes)
        except CandleFileError as error:
            notes.append(f"{error}: the file is left out")
            continue
        if coin in panel:
            notes.append(f"{file.name} is a second file of {coin}: the file is left out")
        elif len(candles):
            panel[coin] = candles
            if missing := int((~candles.known).sum()):
                notes.append(f"{coin}: {missing} of {len(candles)} hours are missing or filled")
    if not panel:
        raise BadOptionError(f"DATA={path} has no file of hourly candles: {'; '.join(notes[:3])}.")
    return HourlyFolder(panel, tuple(notes))


def _read_clean_parquet(file: Path, coin: str, last_day: date) -> HourlyCandles | None:
    """Return the hours of a Parquet file without faults; None if its rows must be checked one by one.

    A long history is read forty times as fast as row by row.
    """
    if file.suffix.lower() != ".parquet":
        return None
    try:
        with pq.ParquetFile(file) as opened:
            table = opened.read()
    except (OSError, pa.ArrowException):
        return None
    time = next((name for name in TIME_NAMES if name in table.column_names), None)
    if time is None or "close" not in table.column_names or not pa.types.is_timestamp(table[time].type):
        return None
    stamps = table[time].to_numpy().astype("datetime64[s]")
    hours = stamps.astype("datetime64[h]")
    values = {name: _numbers(table, name) for name in (*PRICES, "volume", *MONEY_VOLUMES)}
    prices = {name: column for name in PRICES if (column := values[name]) is not None}
    whole = (
        len(hours) > 1
        and bool(np.all(hours == stamps))
        and bool(np.all(np.diff(hours) > np.timedelta64(0, "h")))
        and hours[-1] < np.datetime64(last_day + timedelta(days=1), "h")
        and all(bool(np.all(np.isfinite(column) & (column > 0))) for column in prices.values())
        and _ranges_hold(prices)
    )
    if not whole:
        return None
    volume = next((values[name] for name in MONEY_VOLUMES if values[name] is not None), None)
    if volume is None and values["volume"] is not None:
        volume = values["volume"] * prices["close"]
    return HourlyCandles.of(
        coin,
        hours,
        prices["close"],
        open=prices.get("open"),
        high=prices.get("high"),
        low=prices.get("low"),
        volume=volume,
    )


def _numbers(table: pa.Table, name: str) -> Floats | None:
    if name not in table.column_names:
        return None
    try:
        return np.asarray(table[name].to_numpy(), dtype=np.float64)
    except (ValueError, TypeError):
        # A column of text; NaN leads to a check of the rows one by one.
        return np.full(len(table), np.nan)


def _ranges_hold(prices: dict[str, Floats]) -> bool:
    inner = [prices[name] for name in ("open", "close") if name in prices]
    least, most = np.min(inner, axis=0), np.max(inner, axis=0)
    high, low = prices.get("high", most), prices.get("low", least)
    holds = (low <= least * (1 + SLACK)) & (most <= high * (1 + SLACK)) & (low <= high)
    return bool(np.all(holds))


def _read_rows(file: Path, last_day: date, notes: list[str]) -> HourlyCandles:
    """Read the hours of a file row by row; the notes name rejected rows."""
    found = read_file(file, last_day)
    if not found.hours:
        raise CandleFileError(f"{file.name} has no hours")
    # The hours of an incomplete day are used here, although the day is rejected as a daily candle.
    found.set_aside = [row for row in found.set_aside if row.reason != NOT_WHOLE]
    if fault := found.fault():
        raise CandleFileError(f"{file.name} {fault}")
    notes += found.named_rows()
    return _candles(found, in_coins=_counts_coins(file))


def _counts_coins(file: Path) -> bool:
    """Return whether the volume of a file is in coins; the reader takes it for money."""
    if file.suffix.lower() != ".parquet":
        return False
    names = {name.strip().lower() for name in pq.read_schema(file).names}
    return "volume" in names and names.isdisjoint(MONEY_VOLUMES)


def _candles(found: DailyFile, *, in_coins: bool) -> HourlyCandles:
    candles = [candle for _, candle in found.hours]

    def column(name: str) -> Floats:
        values = [getattr(candle, name) for candle in candles]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    close = column("close")
    volume = column("volume") * close if in_coins else column("volume")
    starts = np.array([start for start, _ in found.hours], dtype="datetime64[s]")
    return HourlyCandles.of(
        found.coin,
        starts.astype("datetime64[h]"),
        close,
        open=column("open"),
        high=column("high"),
        low=column("low"),
        volume=volume,
    )
