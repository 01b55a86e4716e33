"""Imports: what a file must hold, and how it comes into an archive that a running service writes."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import Conflict, InvalidInput
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.importer import candle_files, import_file
from coincast_market_data.archive.inbox import Inbox, report_of
from coincast_market_data.archive.row_validation import check_rows
from coincast_market_data.archive.store import Archive, read_candles, submit_files

DAY = date(2025, 1, 1)
LAST = date(2025, 8, 31)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"date": "soon", "close": "1"}, "unreadable date"),
        ({"date": "2025-09-01", "close": "1"}, "day not closed yet"),
        ({"date": "1999-01-01", "close": "1"}, "before the first bitcoin"),
        ({"date": "2025-01-01", "close": ""}, "no close"),
        ({"date": "2025-01-01", "close": "nan"}, "price not a number"),
        ({"date": "2025-01-01", "close": "inf"}, "price not a number"),
        ({"date": "2025-01-01", "close": "-3"}, "price not positive"),
        ({"date": "2025-01-01", "close": "3", "open": "x"}, "price not a number"),
        (
            {"date": "2025-01-01", "close": "3", "open": "3", "high": "2", "low": "1"},
            "high and low contradict open and close",
        ),
    ],
)
def test_a_bad_row_is_named(row: dict[str, str], reason: str) -> None:
    checked = check_rows([row, {"date": "2025-01-02", "close": "5"}], LAST)
    assert checked.rejected == {reason: 1}
    assert [c.close for c in checked.candles] == [5.0]


def test_duplicates_gaps_and_jumps_of_a_file() -> None:
    rows = [{"date": (DAY + timedelta(days=n)).isoformat(), "close": str(100 + n)} for n in range(20)]
    rows[7]["close"] = "99999"
    twice = [*rows[:3], rows[2], {"date": rows[4]["date"], "close": "50"}, *rows[4:15], *rows[16:]]
    checked = check_rows(twice, LAST)
    assert checked.rejected["duplicate day"] == 1
    assert checked.rejected["two rows for one day differ"] == 2, "both rows are named"
    assert checked.rejected["tenfold off all neighbours"] == 1
    assert [day.day for day in checked.gaps] == [4, 5, 8, 16]


async def test_an_import_takes_good_files_and_says_why_not_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = [f"{DAY + timedelta(days=n)},1,3,0.5,{1 + n / 100},{n}" for n in range(100)]
    head = "date,open,high,low,close,volume_usd"
    (folder / "good.csv").write_text("\n".join([head, *lines]))
    (folder / "bad-header.csv").write_text("when,price\n2025-01-01,3\n")
    (folder / "mostly-bad.csv").write_text("\n".join([head, *lines[:10], *["x,1,1,1,1,1"] * 10]))
    (folder / "empty.csv").write_text(head)
    (folder / "binary.csv").write_bytes(bytes(range(256)))
    (folder / "broken.parquet").write_bytes(b"PAR1 no")
    (folder / "Not An Id!.csv").write_text("\n".join([head, *lines]))
    table = pa.table(
        {"date": [DAY + timedelta(days=n) for n in range(9)], "close": [float(n + 1) for n in range(9)]}
    )
    pq.write_table(table, folder / "columns.parquet")
    archive = Archive(tmp_path / "archive")
    archive.open()
    reports = {r.file: r for r in [await import_file(f, archive, "usd", LAST) for f in candle_files(folder)]}
    assert {name for name, report in reports.items() if not report.refused} == {"good.csv", "columns.parquet"}
    assert (reports["good.csv"].added, reports["good.csv"].gaps) == (100, 0)
    assert "date" in reports["bad-header.csv"].refused
    assert "10 of 20 rows" in reports["mostly-bad.csv"].refused
    assert reports["empty.csv"].refused == "is empty"
    first = (await archive.read("good", "usd"))[0]
    assert (first.open, first.high, first.low, first.close, first.volume) == (1.0, 3.0, 0.5, 1.0, 0.0)
    again = await import_file(folder / "good.csv", archive, "usd", LAST)
    assert again.added == 0, "a second import changes nothing"
    archive.close()


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder"):
        candle_files(tmp_path / "nope")
    with pytest.raises(InvalidInput, match=r"no candle files"):
        candle_files(tmp_path)


@pytest.mark.slow
def test_the_command_imports_and_tells_its_exit_code(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = [f"{DAY + timedelta(days=n)},1,3,0.5,2,{n}" for n in range(30)]
    (folder / "bitcoin.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]))
    environment = {**os.environ, "MARKET_ARCHIVE_DIR": str(tmp_path / "archive")}
    command = [sys.executable, "-m", "coincast_market_data", "import"]
    done = subprocess.run(
        [*command, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "30 candles" in done.stdout
    assert len(read_candles(tmp_path / "archive" / "usd" / "bitcoin.parquet")) == 30
    none = subprocess.run(
        [*command, str(tmp_path / "nope")], env=environment, capture_output=True, text=True, check=False
    )
    assert none.returncode == 2
    assert none.stderr.count("\n") == 1


RUNNING = """
import asyncio, sys
from pathlib import Path
from coincast_chassis.clock import SystemClock
from coincast_market_data.archive.inbox import Inbox
from coincast_market_data.archive.store import Archive
async def main():
    archive = Archive(Path(sys.argv[1]))
    archive.open()
    print("writer" if archive.is_writer else "no writer", flush=True)
    inbox = Inbox(archive, SystemClock())
    while True:
        await inbox.take()
        await asyncio.sleep(0.1)
asyncio.run(main())
"""


@pytest.mark.slow
def test_the_command_imports_beside_a_running_writer(tmp_path: Path) -> None:
    folder, root = tmp_path / "in", tmp_path / "archive"
    folder.mkdir()
    lines = [f"{DAY + timedelta(days=n)},1,3,0.5,2,{n}" for n in range(30)]
    (folder / "bitcoin.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]))
    (folder / "wrong.csv").write_text("when,price\n2025-01-01,3\n")
    running = subprocess.Popen([sys.executable, "-c", RUNNING, str(root)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        assert running.stdout.readline() == "writer\n"
        done = subprocess.run(
            [sys.executable, "-m", "coincast_market_data", "import", str(folder)],
            env={**os.environ, "MARKET_ARCHIVE_DIR": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
    assert "a running service writes" in done.stderr
    assert done.returncode == 1, "one file was refused"
    assert "30 candles new or richer; 1 of 2 files refused" in done.stdout
    assert "lacks the column date" in done.stdout
    assert len(read_candles(root / "usd" / "bitcoin.parquet")) == 30
    assert not list((root / ".inbox").iterdir()), "nothing is left behind"


@pytest.mark.slow
async def test_a_writer_that_does_not_take_the_files_is_reported_with_the_fix(tmp_path: Path) -> None:
    writer, other = Archive(tmp_path), Archive(tmp_path)
    writer.open()
    other.open()
    table = pa.table({"date": [DAY], "close": [1.0]})
    pq.write_table(table, tmp_path / "bitcoin.parquet")
    order = submit_files(tmp_path, [tmp_path / "bitcoin.parquet"], "usd")
    with pytest.raises(Conflict, match="stop it and import again"):
        await report_of(order, Inbox(other, SystemClock()), 0.5)
    writer.close()
    (report,) = await report_of(order, Inbox(other, SystemClock()), 30)
    assert (report.file, report.added, report.first_day) == ("bitcoin.parquet", 1, DAY)
    other.close()


async def test_an_order_that_makes_no_sense_is_reported_not_repeated(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.open()
    order = submit_files(tmp_path, [], "not a currency!")
    (report,) = await report_of(order, Inbox(archive, SystemClock()), 30)
    assert "not a currency code" in report.refused
    archive.close()


async def test_a_long_import_leaves_the_loop_to_others(tmp_path: Path) -> None:
    """A file that does not end before the loop has had its turns: a pipe, held open by another thread."""
    path = tmp_path / "bitcoin.csv"
    os.mkfifo(path)
    archive = Archive(tmp_path / "archive")
    archive.open()
    loop, turned = asyncio.get_running_loop(), threading.Event()
    seen: list[bool] = []

    def write() -> None:
        days = [DAY + timedelta(days=n) for n in range(100)]
        with path.open("w") as file:
            file.write("date,close\n" + "".join(f"{day},100\n" for day in days))
            file.flush()
            loop.call_soon_threadsafe(turned.set)
            seen.append(turned.wait(10))

    writer = threading.Thread(target=write)
    writer.start()
    report = await import_file(path, archive, "usd", LAST)
    writer.join()
    archive.close()
    assert (report.rows, report.added) == (100, 100)
    assert seen == [True], "the loop had no turn while the file was read"


async def test_an_order_that_was_taken_away_meanwhile_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    archive.open()
    order = submit_files(tmp_path, [], "usd")
    there = Path.is_dir

    def then_gone(path: Path) -> bool:
        found = there(path)
        if path == order:
            shutil.rmtree(path, ignore_errors=True)
        return found

    monkeypatch.setattr(Path, "is_dir", then_gone)
    await Inbox(archive, SystemClock()).take()
    monkeypatch.undo()
    assert not list((tmp_path / ".inbox").iterdir())
    archive.close()


def _candle_lines(days: int) -> list[str]:
    return [f"{DAY + timedelta(days=n)},1,3,0.5,{1 + n / 100},{n}" for n in range(days)]


@pytest.mark.parametrize(
    "stray",
    ["a file", "a link", "a folder without an order", "an order that is no JSON", "an unreadable folder"],
)
async def test_a_stray_entry_in_the_inbox_never_stops_a_good_order(tmp_path: Path, stray: str) -> None:
    archive = Archive(tmp_path / "archive")
    archive.open()
    inbox = tmp_path / "archive" / ".inbox"
    inbox.mkdir()
    entry = inbox / "00-stray"
    if stray == "a file":
        entry.write_text("not mine")
    elif stray == "a link":
        entry.symlink_to(tmp_path)
    else:
        entry.mkdir()
        if stray == "an order that is no JSON":
            (entry / "order.json").write_text("{")
        elif stray == "an unreadable folder":
            (entry / "order.json").mkdir()
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.csv").write_text("\n".join(["date,open,high,low,close,volume", *_candle_lines(50)]))
    order = submit_files(archive.root, candle_files(folder), "usd")
    (report,) = await report_of(order, Inbox(archive, SystemClock()), 30)
    assert (report.added, report.refused) == (50, "")
    archive.close()


async def test_a_rejected_row_is_reported_and_the_next_order_is_taken(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    archive.open()
    inbox = Inbox(archive, SystemClock())
    head, lines = "date,open,high,low,close,volume", _candle_lines(60)
    orders = []
    for name, rows in {"repeated-day": [*lines, lines[30]], "good": lines}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.csv").write_text("\n".join([head, *rows]))
        orders.append(submit_files(archive.root, candle_files(folder), "usd"))
    reports = [(await report_of(order, inbox, 30))[0] for order in orders]
    assert [(report.added, report.rejected) for report in reports] == [(60, {"duplicate day": 1}), (60, {})]
    archive.close()


HOUR_START = 1735689600


def _hours_csv(path: Path, hours: int, *, missing: range = range(0)) -> None:
    rows = [
        f"{HOUR_START + n * 3600},{100 + n / 9},{101 + n / 9},{99 + n / 9},{100.5 + n / 9},{n + 1}"
        for n in range(hours)
        if n not in missing
    ]
    path.write_text("\n".join(["\ufeffDate,Open,High,Low,Close,Volume_USD", *rows[::-1]]))


async def test_a_file_of_hours_fills_both_archives_once(tmp_path: Path) -> None:
    _hours_csv(tmp_path / "bitcoin.csv", 75, missing=range(30, 33))
    archive = Archive(tmp_path / "archive")
    archive.open()
    hours = HourlyArchive(archive, retention_days=0)
    report = await import_file(tmp_path / "bitcoin.csv", archive, "usd", LAST, hours=hours)
    assert (report.refused, report.added) == ("", 3)
    assert (report.hours_added, report.hour_gaps, report.hours_left_out) == (72, 3, 0)
    stored = await hours.read("bitcoin", "usd")
    assert [hour.start for hour in stored[:3]] == [HOUR_START + n * 3600 for n in range(3)]
    assert (stored[0].open, stored[0].high, stored[0].low, stored[0].close) == (100.0, 101.0, 99.0, 100.5)
    assert report.rejected == {"the newest day is not whole": 3}
    again = await import_file(tmp_path / "bitcoin.csv", archive, "usd", LAST, hours=hours)
    assert (again.added, again.hours_added) == (0, 0)
    other = HourlyArchive(archive, retention_days=0)
    assert len(await other.read("bitcoin", "usd")) == 72, "the hours are on the disk"
    archive.close()


async def test_hours_past_retention_or_tenfold_off_are_counted(tmp_path: Path) -> None:
    _hours_csv(tmp_path / "bitcoin.csv", 72)
    text = (tmp_path / "bitcoin.csv").read_text()
    spoiled = text.replace(f"{HOUR_START + 50 * 3600},", f"{HOUR_START + 50 * 3600},9e6,9e6,9e6,9e6,1\n#,", 1)
    (tmp_path / "bitcoin.csv").write_text("\n".join(r for r in spoiled.split("\n") if not r.startswith("#")))
    archive = Archive(tmp_path / "archive")
    archive.open()
    hours = HourlyArchive(archive, retention_days=2)
    closed = date(2025, 1, 3)
    report = await import_file(tmp_path / "bitcoin.csv", archive, "usd", closed, hours=hours)
    assert report.refused == ""
    assert len(await hours.read("bitcoin", "usd")) == report.hours_added == 47
    assert report.hours_left_out == 25
    archive.close()


async def test_the_command_imports_hours_through_the_inbox(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _hours_csv(tmp_path / "in" / "bitcoin.csv", 72)
    archive = Archive(tmp_path / "archive")
    archive.open()
    order = submit_files(archive.root, candle_files(tmp_path / "in"), "usd")
    hours = HourlyArchive(archive, retention_days=0)
    (report,) = await report_of(order, Inbox(archive, SystemClock(), hours), 30)
    assert (report.hours_added, report.added) == (72, 3)
    archive.close()
