"""`coincast import`: a folder of candle files comes into the archive of a stack's folder."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from coincast_client.cli import app, connect, parse_holdings, parse_levels
from coincast_client.errors import Refused, Unreachable

FIRST = date(2024, 1, 1)


def candles(days: int) -> list[str]:
    return [f"{FIRST + timedelta(days=n)},1,3,0.5,2,{n}" for n in range(days)]


def run_import(folder: Path, var: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coincast_stack", "import", str(folder), "--var-dir", str(var)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
def test_good_files_are_taken_and_rows_put_aside_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = ["Date, Open, High, Low, Close, Volume", *candles(40), "2205-01-01,1,3,0.5,2,1"]
    (folder / "bitcoin.csv").write_text("\n".join(lines))
    (folder / "broken.csv").write_text("no,such,columns\n1,2,3\n")
    done = run_import(folder, tmp_path / "var")
    assert done.returncode == 1, done.stderr
    assert pq.read_metadata(tmp_path / "var/archive/usd/bitcoin.parquet").num_rows == 40
    assert "rejected: bitcoin.csv line 42: day not closed yet" in done.stdout
    assert "broken.csv lacks the column" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_folder_that_is_none_is_an_error_of_the_request(tmp_path: Path) -> None:
    done = run_import(tmp_path / "nope", tmp_path / "var")
    assert done.returncode == 2
    assert "nope" in done.stderr


def test_the_command_passes_its_options_on() -> None:
    result = CliRunner().invoke(app, ["import", "--help"])
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("texts", "holdings"),
    [
        (["bitcoin=6000"], [{"id": "bitcoin", "value": 6000.0}]),
        (["bitcoin=-6000"], [{"id": "bitcoin", "value": -6000.0}]),
        (["ethereum:1.5"], [{"id": "ethereum", "amount": 1.5}]),
        (
            [" bitcoin = 1e3", "bitcoin:-0.5"],
            [{"id": "bitcoin", "value": 1000.0}, {"id": "bitcoin", "amount": -0.5}],
        ),
        (["bitcoin"], None),
        (["bitcoin="], None),
        (["=5"], None),
        (["bitcoin=ten"], None),
        (["bitcoin=nan"], None),
        (["bitcoin=inf"], None),
        (["bitcoin=1=2"], None),
        (["bitcoin:1:2"], None),
    ],
)
def test_holdings_are_values_or_amounts(texts: list[str], holdings: list[dict[str, object]] | None) -> None:
    if holdings is not None:
        assert parse_holdings(texts) == holdings
        return
    with pytest.raises(ValueError, match=r"is not a holding; write coin=value, .* or coin:amount"):
        parse_holdings(texts)


def test_levels_are_a_list_with_commas() -> None:
    assert parse_levels("95, 97.5") == [95.0, 97.5]
    with pytest.raises(ValueError, match="write it like 95,99"):
        parse_levels("95;99")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unreachable("no answer"), 1),
        (Refused(503, {"detail": "Starting."}), 1),
        (Refused(429, {"detail": "The month is used up."}), 1),
        (Refused(404, {"detail": "No such coin."}), 2),
        (Refused(422, {"detail": "days is too large."}), 2),
        (ValueError("ids is empty."), 2),
    ],
)
def test_exit_code_of_an_error(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, connect("http://127.0.0.1:1", ""):
        raise error
    assert caught.value.exit_code == code
    assert str(error) in capsys.readouterr().err
