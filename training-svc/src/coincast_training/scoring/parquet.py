"""Ledger entries as Parquet: the columns, and files that are written atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from coincast_modelkit.artifact import sync_folder
from coincast_modelkit.ledger import LedgerEntry

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
    ]
)
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


def entry_row(stream_id: str, entry: LedgerEntry, due: str) -> dict[str, object]:
    """Return one entry as a row of FORECAST_SCHEMA."""
    row: dict[str, object] = {
        name: getattr(entry, name) for name in FORECAST_SCHEMA.names if name not in ("stream_id", "due")
    }
    return row | {"stream_id": stream_id, "due": due}


def write_rows(path: Path, rows: Sequence[dict[str, object]], schema: pa.Schema) -> None:
    """Write a temporary file, sync and rename it, so that no reader sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_rows(paths: Iterable[Path], schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Return all rows of the files, in order; an empty table if there are none."""
    names = list(columns) if columns is not None else schema.names
    tables = [pq.read_table(path, columns=names, partitioning=None) for path in sorted(paths)]
    if not tables:
        return pa.schema([schema.field(name) for name in names]).empty_table()
    return pa.concat_tables(tables)
