"""Tables as Arrow, Parquet and CSV, written part by part so that memory stays bounded.

The module is imported at the first export, since pyarrow uses 40 MB of memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as pa_csv

from coincast_gateway.formats.metadata import Metadata, comment_line, error_lines, with_version
from coincast_gateway.formats.negotiation import Format

# Rows of a Parquet row group: enough to compress well, and few enough to hold in memory.
ROW_GROUP_ROWS = 50_000


class _Sink(io.RawIOBase):
    """A file that buffers written bytes until `take` returns them."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._position

    def write(self, data: Any) -> int:
        """Append bytes."""
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def take(self) -> bytes:
        """Return the bytes written since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken


class TableWriter(Protocol):
    """Writer of one table. Each method returns the bytes that are ready to send, which may be none."""

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Add rows."""
        ...

    def finish(self, closing: Metadata) -> bytes:
        """End the table, with metadata that is only known after the last row."""
        ...


class ArrowWriter:
    """Writer of an Arrow IPC stream; the closing metadata is sent with an empty last batch."""

    def __init__(self, schema: pa.Schema, opening: Metadata) -> None:
        self._sink = _Sink()
        self._schema = schema.with_metadata(dict(opening))
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._sink, mode="w"), self._schema)

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Add rows."""
        self._writer.write_batch(batch)
        return self._sink.take()

    def finish(self, closing: Metadata) -> bytes:
        """End the stream."""
        empty = pa.RecordBatch.from_pylist([], schema=self._schema)
        self._writer.write_batch(empty, custom_metadata=dict(closing))
        self._writer.close()
        return self._sink.take()


class ParquetWriter:
    """Writer of a Parquet file; the closing metadata is in the footer, which is written last."""

    def __init__(self, schema: pa.Schema, opening: Metadata) -> None:
        self._sink = _Sink()
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._schema = schema.with_metadata(dict(opening))
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), self._schema, compression="zstd")

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Add rows; they are written as a row group once there are enough."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        return self._flush() if self._rows >= ROW_GROUP_ROWS else b""

    def finish(self, closing: Metadata) -> bytes:
        """Write the last rows and the footer."""
        last = self._flush()
        self._writer.add_key_value_metadata(dict(closing))
        self._writer.close()
        return last + self._sink.take()

    def _flush(self) -> bytes:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).cast(self._schema)
            self._writer.write_table(table)
            self._waiting, self._rows = [], 0
        return self._sink.take()


class CsvWriter:
    """Writer of CSV, with the metadata in a first comment line and the errors in comment lines at the end."""

    def __init__(self, schema: pa.Schema, opening: Metadata) -> None:
        self._sink = _Sink()
        self._sink.write(comment_line(opening))
        options = pa_csv.WriteOptions(quoting_style="needed")
        self._writer = pa_csv.CSVWriter(pa.PythonFile(self._sink, mode="w"), schema, write_options=options)

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Add rows."""
        self._writer.write_batch(batch)
        return self._sink.take()

    def finish(self, closing: Metadata) -> bytes:
        """Write the errors as comment lines."""
        self._writer.close()
        self._sink.write(error_lines(closing))
        return self._sink.take()


WRITERS: Mapping[Format, Callable[[pa.Schema, Metadata], TableWriter]] = {
    Format.ARROW: ArrowWriter,
    Format.PARQUET: ParquetWriter,
    Format.CSV: CsvWriter,
}


def open_table(wanted: Format, schema: pa.Schema, opening: Metadata) -> TableWriter:
    """Return a writer for a table.

    Args:
        wanted: The format.
        schema: The Arrow schema of its rows.
        opening: Metadata for the beginning of the table; the version of the gateway is added.
    """
    return WRITERS[wanted](schema, with_version(opening))


def read_batches(stream: bytes) -> list[pa.RecordBatch]:
    """Return the record batches of an Arrow IPC stream; their data is not copied."""
    return list(pa.ipc.open_stream(stream))


def encode_rows(
    rows: Sequence[Mapping[str, Any]],
    described: Metadata,
    wanted: Format,
    *,
    columns_if_empty: Sequence[str] = (),
) -> bytes:
    """Return rows as one table, with the column types inferred from the values.

    Args:
        rows: The rows, each from column to value.
        described: Metadata of the table.
        wanted: The format.
        columns_if_empty: The columns of a table without rows.
    """
    names = list(dict.fromkeys(name for row in rows for name in row)) or columns_if_empty
    columns = {name: pa.array([row.get(name) for row in rows]) for name in names}
    table = pa.table(columns)
    writer = open_table(wanted, table.schema, described)
    parts = [writer.write(batch) for batch in table.to_batches()]
    return b"".join([*parts, writer.finish({})])
