"""Write exports of the gateway: one file as received, or a folder of candles with one file per coin.

`make run DATA=` and `make evaluate DATA=` read such a folder of candles.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from coincast_client import calls
from coincast_client.errors import UnexpectedReply

Table = Literal["histories", "ledger", "accuracy", "scenarios"]
FileFormat = Literal["parquet", "arrow", "csv"]
PATHS: Mapping[str, str] = {
    "histories": "/export/histories",
    "ledger": "/export/ledger",
    "accuracy": "/forecasts/accuracy",
    "scenarios": "/forecasts/scenarios",
}
FORMATS = ("parquet", "arrow", "csv")
MEDIA_TYPES: Mapping[str, str] = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
    "csv": "text/csv",
}
SUFFIXES = {".parquet": "parquet", ".arrow": "arrow", ".arrows": "arrow", ".csv": "csv"}
ERROR_MARK = "# error: "


@dataclass(frozen=True, slots=True)
class ExportedFolder:
    """The files of an export, one per coin, and the errors of coins without a file."""

    folder: Path
    files: tuple[Path, ...] = ()
    errors: tuple[str, ...] = field(default=())


def format_of(path: Path, wanted: str | None) -> str:
    """Return the format of a file: the requested one, or that of its suffix.

    Args:
        path: The file.
        wanted: The requested format, or None.

    Raises:
        ValueError: Neither is a known format.
    """
    found = wanted or SUFFIXES.get(path.suffix.lower())
    if found not in FORMATS:
        raise ValueError(
            f"{path} has no known ending; name the file .parquet, .arrow or .csv, or give a format."
        )
    return found


def export_parameters(wanted: str, **parameters: Any) -> dict[str, str | int | float]:
    """Return the query parameters of an export; parameters that are None are left out."""
    query: dict[str, str | int | float] = {"format": wanted}
    for name, value in parameters.items():
        if value is None:
            continue
        if name == "ids":
            query[name] = calls.join_ids(value)
        elif name.rstrip("_") in {"from", "to", "as_of"}:
            query[name.rstrip("_")] = calls.moment_text(value)
        else:
            query[name] = value
    return query


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path` at the end, so that no partial file is left at the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        temporary = Path(file.name)
        try:
            yield file  # type: ignore[misc]  # a named temporary file is one
            file.flush()
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    temporary.replace(path)


def split_by_coin(exported: BinaryIO, folder: Path, wanted: str) -> ExportedFolder:
    """Write a file for each coin of an export of histories, in which rows are grouped by coin.

    Args:
        exported: An Arrow stream for Parquet files, or a CSV file.
        folder: Folder of the files; it is created if absent.
        wanted: `parquet` or `csv`.

    Raises:
        ValueError: Parquet is requested and pyarrow is not installed.
        UnexpectedReply: The id of a coin is none that can name a file.
    """
    exported.seek(0)
    folder.mkdir(parents=True, exist_ok=True)
    return _split_csv(exported, folder) if wanted == "csv" else _split_arrow(exported, folder)


def _file_of(folder: Path, coin: str, suffix: str) -> Path:
    """Return the file of a coin; its id must not lead out of the folder."""
    if "/" in coin or "\\" in coin:
        raise UnexpectedReply(f"The export has a coin {coin!r}, which cannot name a file; is it the gateway?")
    return folder / f"{coin}.{suffix}"


def _split_csv(exported: BinaryIO, folder: Path) -> ExportedFolder:
    files: list[Path] = []
    errors: list[str] = []
    with ExitStack() as open_file:
        source = io.TextIOWrapper(exported, encoding="utf-8", newline="")
        preamble, header = source.readline(), next(csv.reader([source.readline()]))
        writer: Any = None
        current = ""
        for row in csv.reader(source):
            if row and row[0].startswith(ERROR_MARK):
                errors.append(",".join(row).removeprefix(ERROR_MARK))
                continue
            if row[0] != current:
                current = row[0]
                open_file.close()
                files.append(_file_of(folder, current, "csv"))
                target = open_file.enter_context(files[-1].open("w", newline="", encoding="utf-8"))
                target.write(preamble)
                writer = csv.writer(target, lineterminator="\n")
                writer.writerow(header[1:])
            writer.writerow(row[1:])
        # Leave the underlying file open; its owner closes it.
        source.detach()
    return ExportedFolder(folder, tuple(files), tuple(errors))


def _split_arrow(exported: BinaryIO, folder: Path) -> ExportedFolder:
    try:
        import pyarrow as pa  # noqa: PLC0415 - the client works without it
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ValueError(
            "Parquet files need pyarrow: install coincast-client[parquet], or export csv."
        ) from error
    files: list[Path] = []
    described: dict[bytes, bytes] = {}
    with pa.ipc.open_stream(exported) as reader, ExitStack() as open_file:
        schema = reader.schema.remove(reader.schema.get_field_index("id"))
        writer: Any = None
        current = ""
        for batch, custom in reader.iter_batches_with_custom_metadata():
            described |= dict(custom or {})
            if not batch.num_rows:
                continue
            coin = batch.column("id")[0].as_py()
            if coin != current:
                current = coin
                open_file.close()
                files.append(_file_of(folder, current, "parquet"))
                writer = open_file.enter_context(pq.ParquetWriter(files[-1], schema, compression="zstd"))
            writer.write_batch(batch.drop_columns(["id"]).cast(schema))
    found = json.loads(described.get(b"errors", b"[]"))
    return ExportedFolder(folder, tuple(files), tuple(f"{each['id']}: {each['message']}" for each in found))
