"""Exports by the client and the command: files, and folders that the readers of candles take as they are."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from coincast_client import AsyncCoincast, Coincast, Refused
from coincast_client.cli import app
from coincast_sandbox.simulation.candles import read_folder as read_replayed_folder
from coincast_training.evaluation.csv_loader import read_folder as read_evaluated_folder
from coincast_training.hourly.folder_loader import read_hourly_folder
from tests.contract.gateway.fakes import world

LAST = dt.date(2023, 11, 13)


async def in_thread(url: str, work: Any) -> Any:
    def run() -> Any:
        with Coincast(url) as client:
            return work(client)

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
async def test_folder_of_daily_candles_is_read_as_it_is(file_format: Any, tmp_path: Path) -> None:
    async with world() as there:
        found = await in_thread(
            there.url,
            lambda client: client.export_candles(
                ["bitcoin", "nocoin", "ethereum"], tmp_path / "out", days=400, file_format=file_format
            ),
        )
    names = [path.name for path in found.files]
    assert names == [f"bitcoin.{file_format}", f"ethereum.{file_format}"]
    assert [error.partition(":")[0] for error in found.errors] == ["nocoin"]
    evaluated = read_evaluated_folder(tmp_path / "out").panel
    replayed = read_replayed_folder(tmp_path / "out").candles
    assert set(evaluated) == set(replayed) == {"bitcoin", "ethereum"}
    bitcoin = evaluated["bitcoin"]
    assert (bitcoin.as_of, len(bitcoin)) == (LAST, 400)
    assert bitcoin.close[[0, -1]].tolist() == [37_399.0, 37_000.0]
    # Volumes are money already: they must not be multiplied by the price.
    assert np.unique(bitcoin.volume).tolist() == [1e9]


async def test_folder_of_hourly_candles_is_read_as_it_is(tmp_path: Path) -> None:
    async with world() as there:
        await in_thread(
            there.url,
            lambda client: client.export_candles("bitcoin", tmp_path, days=10, interval="1h"),
        )
    candles = read_hourly_folder(tmp_path).panel["bitcoin"]
    assert len(candles) == 240
    assert candles.close[-1] == 37_001.0
    assert np.unique(candles.volume).tolist() == [1e6]


@pytest.mark.parametrize(
    ("table", "name", "rows", "parameters"),
    [
        ("histories", "h.parquet", 10, {"ids": ["bitcoin", "ethereum"], "days": 5}),
        ("ledger", "l.arrow", 3, {"ids": "bitcoin"}),
        ("scenarios", "s.parquet", 60, {"ids": "bitcoin", "days": 3, "paths": 20}),
        ("accuracy", "a.parquet", None, {}),
    ],
)
async def test_table_is_written_to_a_file_by_both_clients(
    table: Any, name: str, rows: int | None, parameters: dict[str, Any], tmp_path: Path
) -> None:
    async with world() as there:
        await in_thread(there.url, lambda client: client.export(table, tmp_path / name, **parameters))
        async with AsyncCoincast(there.url) as client:
            await client.export(table, tmp_path / f"async-{name}", **parameters)
    for path in (tmp_path / name, tmp_path / f"async-{name}"):
        found = (
            pq.read_table(path)
            if name.endswith("parquet")
            else pa.ipc.open_stream(path.read_bytes()).read_all()
        )
        assert rows is None or found.num_rows == rows
        assert found.schema.metadata[b"licence"]


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


async def test_refused_export_leaves_an_earlier_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    await asyncio.to_thread(path.write_text, "earlier")
    async with world() as there:
        with pytest.raises(Refused) as caught:
            await in_thread(there.url, lambda client: client.export("histories", path, ids="nocoin"))
    assert caught.value.status == 404
    assert texts(tmp_path) == {"h.csv": "earlier"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["histories", "bitcoin", "ethereum", "--out", "folder", "--days", "5"], 0, "2 files"),
        (["histories", "bitcoin", "--out", "h.csv"], 0, "h.csv"),
        (["ledger", "--out", "ledger.parquet"], 0, "ledger.parquet"),
        (["histories", "bitcoin", "nocoin", "--out", "folder"], 1, "nocoin"),
        (["histories", "nocoin", "--out", "folder"], 2, "nocoin"),
        (["prices", "--out", "p.csv"], 2, "histories, ledger, accuracy, scenarios"),
        (["ledger", "--out", "ledger.xls"], 2, ".parquet, .arrow or .csv"),
    ],
)
async def test_command_says_what_it_wrote(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with world() as there:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["export", *arguments, "--url", there.url])
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.split())
