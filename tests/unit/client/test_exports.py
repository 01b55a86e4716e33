"""Exports as files: a whole table, or a folder with one file per coin, and nothing that is only a part."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coincast_client import AsyncCoincast, Coincast, Refused, UnexpectedReply
from coincast_client.exports import (
    MEDIA_TYPES,
    PATHS,
    ExportedFolder,
    export_parameters,
    format_of,
    whole_file,
)
from tests.unit.client import fake_gateway as gw
from tests.unit.client.fake_gateway import FakeGateway

ROWS = {
    "bitcoin": [("2026-01-01", 1.0), ("2026-01-02", 2.0)],
    "ethereum": [("2026-01-01", 3.0)],
}
ERRORS = [{"id": "nocoin", "message": "No such coin."}]


def csv_of(rows: Mapping[str, Any]) -> bytes:
    """Return an export of histories as the gateway writes it."""
    lines = [f"{coin},{day},{close}" for coin in rows for day, close in rows[coin]]
    return "\n".join(
        ["# source=live", "id,date,close", *lines, "# error: nocoin: No such coin.", ""]
    ).encode()


def arrow_of(rows: Mapping[str, Any]) -> bytes:
    """Return an export of histories as a stream of Arrow, with the errors in the last batch."""
    schema = pa.schema([("id", pa.string()), ("date", pa.string()), ("close", pa.float64())])
    schema = schema.with_metadata({"licence": "as you like"})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, schema) as writer:
        for coin, days in rows.items():
            for day, close in days:
                writer.write_batch(pa.record_batch([[coin], [day], [close]], schema=schema))
        empty = pa.record_batch([[], [], []], schema=schema)
        writer.write_batch(empty, custom_metadata={"errors": json.dumps(ERRORS)})
    return out.getvalue()


def fetch(gateway: FakeGateway, kind: str, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a method by the blocking client, or by that for asyncio."""
    if kind == "sync":
        with Coincast("http://gateway", transport=gateway.transport) as client:
            return getattr(client, method)(*arguments, **options)

    async def call() -> Any:
        async with AsyncCoincast("http://gateway", transport=gateway.transport) as client:
            return await getattr(client, method)(*arguments, **options)

    return asyncio.run(call())


def fetch_folder(gateway: FakeGateway, kind: str, *arguments: Any, **options: Any) -> ExportedFolder:
    """Export candles."""
    found: ExportedFolder = fetch(gateway, kind, "export_candles", *arguments, **options)
    return found


def fetch_file(gateway: FakeGateway, kind: str, *arguments: Any, **options: Any) -> Path:
    """Export a table."""
    found: Path = fetch(gateway, kind, "export", *arguments, **options)
    return found


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@KINDS
def test_folder_of_csv_has_a_file_for_each_coin_without_its_id(kind: str, tmp_path: Path) -> None:
    gateway = FakeGateway()
    gateway.send(PATHS["histories"], csv_of(ROWS), "text/csv; charset=utf-8")
    folder = tmp_path / "new" / "candles"
    found = fetch_folder(gateway, kind, ["bitcoin", "ethereum"], folder, file_format="csv", days=2)
    assert gateway.last.parameters == {"format": "csv", "ids": "bitcoin,ethereum", "days": "2"}
    assert found == ExportedFolder(
        folder, (folder / "bitcoin.csv", folder / "ethereum.csv"), ("nocoin: No such coin.",)
    )
    head = "# source=live\ndate,close\n"
    assert found.files[0].read_text() == f"{head}2026-01-01,1.0\n2026-01-02,2.0\n"
    assert found.files[1].read_text() == f"{head}2026-01-01,3.0\n"


@KINDS
def test_folder_of_parquet_has_a_file_for_each_coin_without_its_id(kind: str, tmp_path: Path) -> None:
    gateway = FakeGateway()
    gateway.send(PATHS["histories"], arrow_of(ROWS), MEDIA_TYPES["arrow"])
    found = fetch_folder(gateway, kind, "bitcoin,ethereum", tmp_path)
    assert gateway.last.parameters["format"] == "arrow"
    assert [path.name for path in found.files] == ["bitcoin.parquet", "ethereum.parquet"]
    assert found.errors == ("nocoin: No such coin.",)
    table = pq.read_table(found.files[0])
    assert table.to_pydict() == {"date": ["2026-01-01", "2026-01-02"], "close": [1.0, 2.0]}
    assert table.schema.metadata[b"licence"] == b"as you like"


@pytest.mark.parametrize("coin", ["../../evil", "/etc/evil", "..\\evil"])
@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_id_of_a_coin_cannot_lead_out_of_the_folder(file_format: str, coin: str, tmp_path: Path) -> None:
    gateway = FakeGateway()
    rows = {coin: ROWS["ethereum"]}
    if file_format == "csv":
        gateway.send(PATHS["histories"], csv_of(rows), "text/csv")
    else:
        gateway.send(PATHS["histories"], arrow_of(rows), MEDIA_TYPES["arrow"])
    with pytest.raises(UnexpectedReply, match="cannot name a file"):
        fetch_folder(gateway, "sync", "bitcoin", tmp_path / "a" / "b", file_format=file_format)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_parquet_without_its_library_names_the_package_and_the_other_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = FakeGateway()
    gateway.send(PATHS["histories"], arrow_of(ROWS), MEDIA_TYPES["arrow"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"install coincast-client\[parquet\], or export csv"):
        fetch_folder(gateway, "sync", "bitcoin", tmp_path)


@KINDS
@pytest.mark.parametrize(
    ("name", "file_format", "sent"),
    [
        ("t.csv", None, "csv"),
        ("t.PARQUET", None, "parquet"),
        ("t.arrows", None, "arrow"),
        ("t", "arrow", "arrow"),
        ("t.csv", "parquet", "parquet"),
    ],
)
def test_file_holds_what_was_sent_in_the_format_of_its_name(
    kind: str, name: str, file_format: str | None, sent: str, tmp_path: Path
) -> None:
    gateway = FakeGateway()
    gateway.send(PATHS["scenarios"], b"content", MEDIA_TYPES[sent])
    path = tmp_path / "new" / name
    assert fetch_file(gateway, kind, "scenarios", path, file_format=file_format, paths=20) == path
    assert path.read_bytes() == b"content"
    assert gateway.last.parameters == {"format": sent, "paths": "20"}
    assert gateway.last.headers["accept"] == "*/*"


@KINDS
@pytest.mark.parametrize(
    ("status", "content_type", "raised"),
    [
        (404, gw.PROBLEM, Refused),
        (200, gw.JSON, UnexpectedReply),
        (200, "text/html", UnexpectedReply),
        (502, "text/html", UnexpectedReply),
        (302, "", UnexpectedReply),
    ],
)
def test_failed_export_leaves_an_earlier_file_as_it_was(
    kind: str, status: int, content_type: str, raised: type[Exception], tmp_path: Path
) -> None:
    gateway = FakeGateway()
    gateway.send(PATHS["ledger"], b'{"detail": "No."}', content_type, status)
    path = tmp_path / "ledger.csv"
    path.write_text("earlier")
    with pytest.raises(raised):
        fetch_file(gateway, kind, "ledger", path)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"ledger.csv": "earlier"}


def test_partial_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"

    def write_a_part() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            assert not path.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_a_part()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "wanted"), [("t.xls", None), ("t", None), ("t.csv", "xml")])
def test_unknown_format_names_those_that_exist(name: str, wanted: str | None) -> None:
    with pytest.raises(ValueError, match=r"name the file \.parquet, \.arrow or \.csv, or give a format"):
        format_of(Path(name), wanted)


def test_parameters_are_those_of_the_route() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    sent = export_parameters(
        "csv", ids=["a", "b"], from_=date(2026, 1, 1), to="2026-01-02", as_of=noon, model=None, days=3
    )
    assert sent == {
        "format": "csv", "ids": "a,b", "from": "2026-01-01", "to": "2026-01-02",
        "as_of": "2026-01-02T12:00:00+00:00", "days": 3,
    }  # fmt: skip
