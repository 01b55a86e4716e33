"""Files of the ledger: incoming batches, waiting forecasts and scored forecasts."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import check_plain_file, set_aside
from coincast_training.scoring.parquet import (
    FORECAST_SCHEMA,
    SCORED_SCHEMA,
    count_rows,
    read_files,
    read_rows,
    read_table,
    strays,
    write_rows,
)

Row = dict[str, Any]
# Columns that identify one horizon of one forecast.
KEY = ("forecast_id", "horizon_days", "horizon_hours")
Key = tuple[str, int, int]
LOG_CHUNK = 500
LOG_WINDOW_DAYS = 28
# The longest horizon in days. The scores of a forecast are in the folder of its due day, at most this many
# days after the day of the forecast.
MAX_HORIZON_DAYS = 31
MAX_WAITING_BYTES = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class Open:
    """The unscored forecasts, each once, and the batch files that contain them."""

    rows: list[Row]
    batches: list[Path]


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Query of the forecast log; empty fields match everything, `limit` 0 means no limit.

    `first` and `last` limit the day whose close a forecast is based on, both included.
    """

    ids: tuple[str, ...] = ()
    model: str = ""
    first: dt.date | None = None
    last: dt.date | None = None
    horizon_days: int = 0
    horizon_hours: int = 0
    limit: int = 0

    def equal(self) -> dict[str, list[object]]:
        """Return the accepted values of each column."""
        wanted: dict[str, list[object]] = {"shadow": [False]}
        if self.ids:
            wanted["coin_id"] = list(self.ids)
        if self.model:
            wanted["model"] = [self.model]
        if self.horizon_days:
            wanted["horizon_days"] = [self.horizon_days]
        if self.horizon_hours:
            wanted["horizon_hours"] = [self.horizon_hours]
        return wanted


class LedgerStore:
    """The files of the ledger; after a crash at any step, the next cycle continues correctly.

    After a crash between writing the scores and the waiting list, forecasts are scored twice. Readers count
    each once, by its id and horizon (in days or in hours).
    """

    def __init__(self, folder: Path) -> None:
        self._incoming, self._scored = folder / "incoming", folder / "scored"
        self._waiting = folder / "waiting.parquet"

    def open_forecasts(self) -> Open:
        """Return all forecasts without a score."""
        rows = self._waiting_rows().to_pylist()
        batches = []
        for path, table in read_files(self._incoming.glob("*.parquet"), FORECAST_SCHEMA):
            batches.append(path)
            rows += table.to_pylist()
        return Open(list({_key(row): row for row in rows}.values()), batches)

    def close_cycle(self, scored: list[Row], waiting: list[Row], batches: list[Path]) -> None:
        """Write the scores, then the new waiting list; then delete the batch files, which both replace."""
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
        """Return the scored forecasts whose due day is `first` or later, each once."""
        folders = [folder for folder in self._due_folders() if folder.name >= first.isoformat()]
        table = read_rows([path for folder in folders for path in folder.glob("*.parquet")], SCORED_SCHEMA)
        if not table.num_rows:
            return table
        seen: set[Key] = set()
        keep = []
        for key in zip(*(table[name].to_pylist() for name in KEY), strict=True):
            keep.append(key not in seen)
            seen.add(key)
        return table.filter(pa.array(keep))

    def every_score(self, columns: Sequence[str]) -> pa.Table:
        """Return some columns of all scores; a forecast that was scored twice after a crash appears twice."""
        files = [path for folder in self._due_folders() for path in folder.glob("*.parquet")]
        return read_rows(files, SCORED_SCHEMA, columns)

    def forecast_log(self, query: LogQuery) -> Iterator[list[Row]]:
        """Yield logged forecasts, scored or not, the oldest first, in chunks of at most `LOG_CHUNK` rows.

        Only `LOG_WINDOW_DAYS` forecast days are read at a time, so that a long log does not fill the memory.
        Shadow forecasts are left out, since they were never served.
        """
        first, last = self._log_span(query)
        seen: set[Key] = set()
        left = query.limit or None
        while first is not None and last is not None and first <= last and left != 0:
            until = min(last, first + dt.timedelta(days=LOG_WINDOW_DAYS - 1))
            rows = [row for row in self._log_rows(query, first, until) if _key(row) not in seen]
            rows.sort(key=lambda row: (row["as_of"], row["as_of_hours"], row["made_at"], *_key(row)))
            rows = list({_key(row): row for row in reversed(rows)}.values())[::-1][:left]
            seen = {_key(row) for row in rows}
            left = None if left is None else left - len(rows)
            for start in range(0, len(rows), LOG_CHUNK):
                yield rows[start : start + LOG_CHUNK]
            first = until + dt.timedelta(days=1)

    def _log_span(self, query: LogQuery) -> tuple[dt.date | None, dt.date | None]:
        """Return the first and last forecast day of the query for which the files can have forecasts."""
        due = [folder.name for folder in self._due_folders()]
        open_days = self._open_table()["as_of"].to_pylist()
        firsts = [due[0]] if due else []
        begin = min([*(_shifted(day, -MAX_HORIZON_DAYS) for day in firsts), *open_days], default=None)
        end = max([*due[-1:], *open_days], default=None)
        if begin is None or end is None:
            return None, None
        return (
            max(dt.date.fromisoformat(begin), query.first or dt.date.min),
            min(dt.date.fromisoformat(end), query.last or dt.date.max),
        )

    def _log_rows(self, query: LogQuery, first: dt.date, last: dt.date) -> Iterator[Row]:
        """Yield the rows of the forecast days `first` to `last` that match the query, scored rows first.

        A forecast can be among both scored and open rows; the caller keeps the first.
        """
        lowest, highest = first.isoformat(), _shifted(last.isoformat(), MAX_HORIZON_DAYS)
        folders = [folder for folder in self._due_folders() if lowest <= folder.name <= highest]
        scored = read_rows([path for folder in folders for path in folder.glob("*.parquet")], SCORED_SCHEMA)
        for table in (scored, self._open_table()):
            inside = pc.and_(
                pc.greater_equal(table["as_of"], lowest), pc.less_equal(table["as_of"], last.isoformat())
            )
            for name, wanted in query.equal().items():
                inside = pc.and_(
                    inside, pc.is_in(table[name], pa.array(wanted, table.schema.field(name).type))
                )
            yield from table.filter(inside).to_pylist()

    def _open_table(self) -> pa.Table:
        incoming = read_rows(self._incoming.glob("*.parquet"), FORECAST_SCHEMA)
        return pa.concat_tables([self._waiting_rows(), incoming])

    def _waiting_rows(self) -> pa.Table:
        """Return the waiting list.

        One that cannot be read is renamed for inspection, since the next write would overwrite it.

        Raises:
            OSError: It cannot be renamed either.
        """
        try:
            check_plain_file(self._waiting, max_bytes=MAX_WAITING_BYTES)
            return read_table(self._waiting, FORECAST_SCHEMA, FORECAST_SCHEMA.names)
        except FileNotFoundError:
            return FORECAST_SCHEMA.empty_table()
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            strays.name(self._waiting, without_path(error))
            if not set_aside(self._waiting):
                raise OSError(f"{self._waiting.name} cannot be read or renamed") from error
            return FORECAST_SCHEMA.empty_table()

    def _due_folders(self) -> list[Path]:
        """Return the folders of scores in order of their names, the due days; ignore other entries."""
        return sorted(path for path in self._scored.glob("*-*-*") if _is_day(path.name) and path.is_dir())

    def newest_scored(self) -> dt.date | None:
        """Return the newest due day of a scored forecast; None without scores."""
        folders = self._due_folders()
        return dt.date.fromisoformat(folders[-1].name) if folders else None

    def counts(self) -> tuple[int, int]:
        """Return the number of forecasts on disk, and of scored ones; duplicates count twice."""
        scored = count_rows(path for folder in self._due_folders() for path in folder.glob("*.parquet"))
        waiting = count_rows([self._waiting, *self._incoming.glob("*.parquet")])
        return scored + waiting, scored


def _shifted(day: str, days: int) -> str:
    return (dt.date.fromisoformat(day) + dt.timedelta(days=days)).isoformat()


def _is_day(name: str) -> bool:
    try:
        return dt.date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def _key(row: Row) -> Key:
    return row["forecast_id"], row["horizon_days"], row["horizon_hours"]


def _name(rows: list[Row]) -> str:
    """Name a file by its rows, so that a cycle that is repeated after a crash replaces the same file."""
    digest = hashlib.sha256()
    for forecast_id, days, hours in sorted(map(_key, rows)):
        digest.update(f"{forecast_id} {days} {hours}\n".encode())
    return digest.hexdigest()[:24]
