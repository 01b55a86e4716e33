"""Reads a folder of daily candles, one CSV file a coin, whatever columns beside date and close it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from coincast_modelkit.candles import Candles, Panel
from coincast_training.evaluation.options import MIN_HISTORY_DAYS, BadOptionError

OTHER_NAMES = {"volume_usd": "volume", "timestamp": "date", "time": "date", "price": "close"}
FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Folder:
    """The candles of a folder, and what was noticed while reading them."""

    panel: Panel
    notes: tuple[str, ...]


def read_folder(path: Path) -> Folder:
    """Every `<coin id>.csv`. Raises BadOptionError where the folder or a file cannot be read."""
    if not path.is_dir():
        raise BadOptionError(f"DATA={path} is not a folder; name one that holds <coin id>.csv files.")
    files = sorted(path.glob("*.csv"))
    if not files:
        raise BadOptionError(f"DATA={path} holds no .csv file; one a coin is needed, with date and close.")
    panel: dict[str, Candles] = {}
    notes: list[str] = []
    for file in files:
        candles = _read_file(file, notes)
        if len(candles) <= MIN_HISTORY_DAYS:
            notes.append(
                f"{file.stem}: left out, it has {len(candles)} days and {MIN_HISTORY_DAYS} are needed"
            )
        else:
            panel[file.stem] = candles
    if not panel:
        raise BadOptionError(f"DATA={path}: no coin has more than {MIN_HISTORY_DAYS} days.")
    return Folder(panel, tuple(notes))


def _read_file(file: Path, notes: list[str]) -> Candles:
    try:
        table = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise BadOptionError(f"{file} cannot be read as CSV: {error}") from error
    table.columns = [OTHER_NAMES.get(c.strip().lower(), c.strip().lower()) for c in table.columns.astype(str)]
    if missing := {"date", "close"} - set(table.columns):
        raise BadOptionError(
            f"{file} has no column {' and '.join(sorted(missing))}; it has {list(table.columns)}."
        )
    days = pd.to_datetime(table["date"], errors="coerce", utc=True, format="ISO8601")
    values = {f: pd.to_numeric(table[f], errors="coerce") for f in FIELDS if f in table}
    clean = pd.DataFrame({"day": days.dt.tz_localize(None).dt.floor("D"), **values})
    good = clean["day"].notna() & np.isfinite(clean["close"]) & (clean["close"] > 0)
    clean = clean[good].drop_duplicates("day", keep="last").sort_values("day")
    if dropped := len(table) - len(clean):
        notes.append(
            f"{file.stem}: {dropped} rows without a date or a price above zero, or repeated, left out"
        )
    return _candles(file.stem, clean, notes)


def _candles(coin: str, clean: pd.DataFrame, notes: list[str]) -> Candles:
    def column(name: str) -> np.ndarray | None:
        if name not in clean:
            return None
        values = clean[name].to_numpy(dtype=np.float64)
        floor = 0.0 if name == "volume" else np.nextafter(0, 1)
        return np.where(np.isfinite(values) & (values >= floor), values, np.nan)

    found = {name: column(name) for name in ("open", "high", "low", "volume")}
    if absent := [name for name, values in found.items() if values is None]:
        notes.append(f"{coin}: no {', '.join(absent)}; what is computed from them is absent too")
    candles = Candles.of(
        coin,
        clean["day"].to_numpy().astype("datetime64[D]"),
        clean["close"].to_numpy(dtype=np.float64),
        **found,
    )
    filled = candles.on_every_day()
    if gaps := len(filled) - len(candles):
        notes.append(f"{coin}: {gaps} absent days repeat the close before them")
    return filled
