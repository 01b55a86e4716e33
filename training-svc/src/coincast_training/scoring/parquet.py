"""Ledger entries in Parquet files: their columns, atomic writes, and reads that skip foreign files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coincast_chassis.plain_files import StrayLog
from coincast_modelkit.durable_files import replacing
from coincast_modelkit.ledger import MAX_HORIZON, LedgerEntry, check_day

# Columns that each forecast has a value in.
NEEDED = (
    "forecast_id", "made_at", "coin_id", "vs_currency", "as_of", "due", "model", "served_by", "horizon_days",
    "last_price", "shadow", "horizon_hours", "as_of_hours",
)  # fmt: skip
# Each table of the ledger has these columns.
KEY_COLUMNS = {"forecast_id", "horizon_days"}
strays = StrayLog("ledger_entry_skipped")

FORECAST_SCHEMA = pa.schema(
    [
        ("stream_id", pa.string()),
        ("forecast_id", pa.string()),
        ("made_at", pa.float64()),
        ("coin_id", pa.string()),
        ("vs_currency", pa.string()),
        ("as_of", pa.string()),
        ("due", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("variant", pa.string()),
        ("served_by", pa.string()),
        ("horizon_days", pa.int32()),
        ("last_price", pa.float64()),
        ("probabilities", pa.list_(pa.float64())),
        ("price_quantiles", pa.list_(pa.float64())),
        ("shadow", pa.bool_()),
        ("horizon_hours", pa.int32()),
        ("as_of_hours", pa.int32()),
    ]
)
# Values of columns that files of older releases do not have: their forecasts were all daily, from a close.
DEFAULTS: dict[str, object] = {"horizon_hours": 0, "as_of_hours": 0}
SCORED_SCHEMA = pa.schema(
    [
        *FORECAST_SCHEMA,
        ("actual", pa.float64()),
        ("median", pa.float64()),
        ("absolute_error", pa.float64()),
        ("random_walk_error", pa.float64()),
        ("crps", pa.float64()),
        ("random_walk_crps", pa.float64()),
        ("naive_step", pa.float64()),
        ("inside_80", pa.bool_()),
        ("inside_95", pa.bool_()),
        ("scored_at", pa.float64()),
    ]
)


def entry_row(stream_id: str, entry: LedgerEntry) -> dict[str, object]:
    """Return one entry as a row of FORECAST_SCHEMA.

    Raises:
        ValueError: `as_of` is not an ISO date.
    """
    row: dict[str, object] = {
        name: getattr(entry, name) for name in FORECAST_SCHEMA.names if name not in ("stream_id", "due")
    }
    return row | {"stream_id": stream_id, "due": entry.due}


def write_rows(path: Path, rows: Sequence[dict[str, object]], schema: pa.Schema) -> None:
    """Write rows to a file durably; no reader sees an incomplete file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file, compression="zstd")


def read_files(
    paths: Iterable[Path], schema: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[tuple[Path, pa.Table]]:
    """Yield each file of the ledger with its rows, in order of names.

    A path that is not a table of the ledger (a folder, a link, another file) is logged once and skipped: it
    must not stop the scoring of other files.
    """
    names = list(columns) if columns is not None else schema.names
    for path in sorted(paths):
        if path.is_symlink() or not path.is_file():
            strays.name(path, "it is not a file")
            continue
        try:
            table = read_table(path, schema, names)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            strays.name(path, f"it cannot be read as a table of the ledger ({type(error).__name__})")
            continue
        yield path, table


def read_table(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Return the columns of one file; a column that an older release did not write has its default.

    Rows that cannot be forecasts are left out, and the file is named once.

    Raises:
        pa.ArrowException, OSError: The file is not Parquet.
        ValueError: It is not a table of the ledger.
    """
    # `pq.read_table` would plan a data set around the one file, which takes longer than to read the file.
    with pq.ParquetFile(path) as file:
        there = set(file.schema_arrow.names)
        if not there >= KEY_COLUMNS:
            raise ValueError(f"{path.name} has no columns {', '.join(sorted(KEY_COLUMNS - there))}")
        table = file.read(columns=[name for name in columns if name in there])
    for name in columns:
        if name not in there:
            kind = schema.field(name).type
            table = table.append_column(name, pa.repeat(pa.scalar(DEFAULTS.get(name), kind), table.num_rows))
    typed = table.select(list(columns)).cast(pa.schema([schema.field(name) for name in columns]))
    valid = typed.filter(_valid_rows(typed))
    if valid.num_rows < typed.num_rows:
        strays.name(path, f"{typed.num_rows - valid.num_rows} of its rows are not forecasts")
    return valid


def _valid_rows(table: pa.Table) -> pa.Array:
    """Return which rows can be forecasts, by those of their columns that are in the table."""
    valid = pa.repeat(pa.scalar(True), table.num_rows)
    there = set(table.column_names)
    for name in (n for n in NEEDED if n in there):
        valid = pc.and_(valid, pc.is_valid(table[name]))
    for name in (n for n in ("as_of", "due") if n in there):
        days = [day for day in pc.unique(table[name]).to_pylist() if _is_day(day)]
        valid = pc.and_(valid, pc.is_in(table[name], pa.array(days, pa.string())))
    for name in (n for n in ("horizon_days", "horizon_hours", "as_of_hours") if n in there):
        inside = pc.and_(pc.greater_equal(table[name], 0), pc.less_equal(table[name], MAX_HORIZON))
        valid = pc.and_(valid, pc.fill_null(inside, False))
    if "last_price" in there:
        price = pc.and_(pc.is_finite(table["last_price"]), pc.greater(table["last_price"], 0))
        valid = pc.and_(valid, pc.fill_null(price, False))
    if {"probabilities", "price_quantiles"} <= there:
        counts = pc.fill_null(pc.list_value_length(table["probabilities"]), 0)
        same = pc.equal(counts, pc.list_value_length(table["price_quantiles"]))
        valid = pc.and_(valid, pc.and_(pc.fill_null(same, False), pc.greater(counts, 0)))
    return valid


def _is_day(text: str | None) -> bool:
    try:
        check_day(text or "")
    except ValueError:
        return False
    return True


def read_rows(paths: Iterable[Path], schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Return all rows of the files, in order; an empty table if there are none."""
    names = list(columns) if columns is not None else schema.names
    tables = [table for _, table in read_files(paths, schema, columns)]
    if not tables:
        return pa.schema([schema.field(name) for name in names]).empty_table()
    return pa.concat_tables(tables)


def count_rows(paths: Iterable[Path]) -> int:
    """Return the number of rows in the readable files."""
    count = 0
    for path in paths:
        try:
            if not path.is_file():
                continue
            metadata = pq.read_metadata(path)
            if set(metadata.schema.to_arrow_schema().names) >= KEY_COLUMNS:
                count += metadata.num_rows
        except (pa.ArrowException, OSError):
            strays.name(path, "it cannot be read as a table of the ledger")
    return count
