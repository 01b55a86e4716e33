"""The ledger's files: incoming batches, what waits for its day, what was scored."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coincast_training.scoring.parquet import FORECAST_SCHEMA, SCORED_SCHEMA, read_rows, write_rows

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Open:
    """Forecasts that are not scored, each once, and the files that they came in."""

    rows: list[Row]
    batches: list[Path]


class LedgerStore:
    """Files under one folder; every step leaves a state from which the next cycle goes on.

    A forecast may be scored twice where a crash comes between the score and the new waiting list; readers
    take it once, by its id and horizon.
    """

    def __init__(self, folder: Path) -> None:
        self._incoming, self._scored = folder / "incoming", folder / "scored"
        self._waiting = folder / "waiting.parquet"

    def open_forecasts(self) -> Open:
        """Everything that has no score yet."""
        batches = sorted(self._incoming.glob("*.parquet"))
        waiting = [self._waiting] if self._waiting.exists() else []
        rows = read_rows([*waiting, *batches], FORECAST_SCHEMA).to_pylist()
        return Open(list({_key(row): row for row in rows}.values()), batches)

    def close_cycle(self, scored: list[Row], waiting: list[Row], batches: list[Path]) -> None:
        """Scores first, then the new waiting list, then away with the batches that both were made of."""
        by_day: dict[str, list[Row]] = defaultdict(list)
        for row in scored:
            by_day[row["due"]].append(row)
        for due, rows in by_day.items():
            write_rows(self._scored / due / f"{_name(rows)}.parquet", rows, SCORED_SCHEMA)
        if scored or batches:
            write_rows(self._waiting, waiting, FORECAST_SCHEMA)
        for path in batches:
            path.unlink(missing_ok=True)

    def scored_since(self, first: dt.date) -> pa.Table:
        """The scored forecasts whose day came on `first` or later, each once."""
        folders = [f for f in self._scored.glob("*-*-*") if f.name >= first.isoformat()]
        table = read_rows([path for folder in folders for path in folder.glob("*.parquet")], SCORED_SCHEMA)
        if not table.num_rows:
            return table
        seen: set[tuple[str, int]] = set()
        keep = []
        for key in zip(table["forecast_id"].to_pylist(), table["horizon_days"].to_pylist(), strict=True):
            keep.append(key not in seen)
            seen.add(key)
        return table.filter(pa.array(keep))

    def every_score(self, columns: Sequence[str]) -> pa.Table:
        """These columns of all scores there are; a score that a crash doubled comes twice."""
        return read_rows(self._scored.glob("*-*-*/*.parquet"), SCORED_SCHEMA, columns)

    def newest_scored(self) -> dt.date | None:
        """The newest day whose close is known from a score."""
        days = [folder.name for folder in self._scored.glob("*-*-*")]
        return dt.date.fromisoformat(max(days)) if days else None

    def counts(self) -> tuple[int, int]:
        """Forecasts on disk, scored ones included, and scored ones (file by file: doubles count twice)."""
        scored = _rows_in(self._scored.rglob("*.parquet"))
        waiting = _rows_in([self._waiting, *self._incoming.glob("*.parquet")])
        return scored + waiting, scored


def _rows_in(paths: Any) -> int:
    return sum(pq.read_metadata(path).num_rows for path in paths if path.exists())


def _key(row: Row) -> tuple[str, int]:
    return row["forecast_id"], row["horizon_days"]


def _name(rows: list[Row]) -> str:
    """The same rows give the same name, so that a cycle that is repeated after a crash replaces its file."""
    digest = hashlib.sha256()
    for forecast_id, horizon in sorted(map(_key, rows)):
        digest.update(f"{forecast_id} {horizon}\n".encode())
    return digest.hexdigest()[:24]
