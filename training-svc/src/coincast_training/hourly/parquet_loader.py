"""Read a folder of hourly candles, one Parquet file for each coin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.candles import HourlyCandles, HourlyPanel
from coincast_training.evaluation.options import BadOptionError

TIME_NAMES = ("date_time", "time", "timestamp")
PRICES = ("open", "high", "low", "close")
MONEY_VOLUMES = ("quote_volume", "volume_usd")


@dataclass(frozen=True, slots=True)
class HourlyFolder:
    """Hourly candles of a folder, and the warnings of reading them."""

    panel: HourlyPanel
    notes: tuple[str, ...]


def read_hourly_folder(path: Path) -> HourlyFolder:
    """Read every `<coin id>.parquet`.

    A file has `date_time` (UTC start of the hour), `close` and, where known, `open`, `high`, `low` and
    `volume` in coins, or `quote_volume` or `volume_usd` in money.

    Raises:
        BadOptionError: The folder or a file cannot be read; the message names it and the fix.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else []
    if not files:
        raise BadOptionError(
            f"DATA={path} holds no .parquet file; INTERVAL=1h needs one per coin, with date_time and close."
        )
    panel: dict[str, HourlyCandles] = {}
    notes: list[str] = []
    for file in files:
        candles = _read_file(file, notes)
        if len(candles):
            panel[file.stem] = candles
    return HourlyFolder(panel, tuple(notes))


def _read_file(file: Path, notes: list[str]) -> HourlyCandles:
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadOptionError(f"{file} cannot be read as Parquet: {error}") from error
    time = next((name for name in TIME_NAMES if name in table.column_names), None)
    if time is None or "close" not in table.column_names:
        raise BadOptionError(f"{file} needs the columns date_time and close; it has {table.column_names}.")
    stamps = table[time].to_numpy().astype("datetime64[s]")
    values = {
        name: table[name].to_numpy().astype(np.float64)
        for name in (*PRICES, "volume", *MONEY_VOLUMES)
        if name in table.column_names
    }
    hours = stamps.astype("datetime64[h]")
    order = np.argsort(hours, kind="stable")
    good = np.isfinite(values["close"]) & (values["close"] > 0) & (hours == stamps)
    kept = order[good[order]]
    last = np.append(hours[kept][1:] != hours[kept][:-1], True) if len(kept) else np.empty(0, dtype=np.bool_)
    kept = kept[last]
    if dropped := len(stamps) - len(kept):
        notes.append(f"{file.stem}: {dropped} rows off the hour, without a price or repeated were left out")
    volume = next((values[name] for name in MONEY_VOLUMES if name in values), None)
    if volume is None and "volume" in values:
        volume = values["volume"] * values["close"]
    given: dict[str, Floats] = {
        name: values[name][kept] for name in ("open", "high", "low") if name in values
    }
    if volume is not None:
        given["volume"] = volume[kept]
    candles = HourlyCandles.of(
        file.stem,
        hours[kept],
        values["close"][kept],
        open=given.get("open"),
        high=given.get("high"),
        low=given.get("low"),
        volume=given.get("volume"),
    )
    missing = int((~candles.known).sum())
    if missing:
        notes.append(f"{file.stem}: {missing} of {len(candles)} hours are missing, fill-ins included")
    return candles
