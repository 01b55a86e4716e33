"""Load a folder of daily candle files, one for each coin, for evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from coincast_modelkit.candle_files.daily import DailyFile
from coincast_modelkit.candle_files.daily import read_folder as read_candle_folder
from coincast_modelkit.candle_files.tables import CandleFileError
from coincast_modelkit.candles import Candles, Panel
from coincast_training.evaluation.options import MIN_HISTORY_DAYS, BadOptionError


@dataclass(frozen=True, slots=True)
class Folder:
    """The candles of a folder, and the warnings that reading its files gave."""

    panel: Panel
    notes: tuple[str, ...]


def read_folder(path: Path) -> Folder:
    """Read all candle files of a folder; the notes name the files that cannot be used.

    Raises:
        BadOptionError: The folder cannot be read, or no coin has enough days.
    """
    last_day = (datetime.now(UTC) - timedelta(days=1)).date()
    panel: dict[str, Candles] = {}
    try:
        found = read_candle_folder(path, last_day)
    except CandleFileError as error:
        raise BadOptionError(f"DATA={path}: {error}.") from error
    notes = list(found.left_out)
    for file in found.files:
        _add(file, panel, notes)
    if not panel:
        why = f" ({'; '.join(notes[:3])})" if notes else ""
        raise BadOptionError(f"DATA={path}: no coin has more than {MIN_HISTORY_DAYS} days{why}.")
    return Folder(panel, tuple(notes))


def _add(found: DailyFile, panel: dict[str, Candles], notes: list[str]) -> None:
    notes += found.named_rows()
    candles = _candles(found, notes)
    if len(candles) <= MIN_HISTORY_DAYS:
        notes.append(f"{found.coin}: left out: {len(candles)} days; more than {MIN_HISTORY_DAYS} are needed")
    else:
        panel[found.coin] = candles


def _candles(found: DailyFile, notes: list[str]) -> Candles:
    def column(name: str) -> np.ndarray | None:
        values = [getattr(candle, name) for candle in found.candles]
        if all(value is None for value in values):
            return None
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    columns = {name: column(name) for name in ("open", "high", "low", "volume")}
    if absent := [name for name, values in columns.items() if values is None]:
        notes.append(f"{found.coin}: no {', '.join(absent)}; features of these columns are missing too")
    candles = Candles.of(
        found.coin,
        np.array([candle.day for candle in found.candles], dtype="datetime64[D]"),
        np.array([candle.close for candle in found.candles], dtype=np.float64),
        **columns,
    )
    filled = candles.on_every_day() if len(candles) else candles
    if gaps := len(filled) - len(candles):
        notes.append(f"{found.coin}: {gaps} missing days repeat the previous close")
    return filled
