"""The archive: merging, whole files, one writer, damaged files, imports."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import Conflict, InvalidInput
from coincast_market_data.archive.files import UnreadableArchive, read_candles, read_extent, write_candles
from coincast_market_data.archive.handover import hand_over
from coincast_market_data.archive.importer import candle_files, import_file
from coincast_market_data.archive.inbox import Inbox, report_of
from coincast_market_data.archive.merge import merge_candles
from coincast_market_data.archive.rows import check_rows
from coincast_market_data.archive.store import Archive
from coincast_market_data.domain import Candle

DAY = date(2025, 1, 1)
LAST = date(2025, 8, 31)
PRICES = st.floats(1e-9, 1e6)
MAYBE = st.none() | PRICES


@st.composite
def candles(draw: st.DrawFn) -> Candle:
    day = DAY + timedelta(days=draw(st.integers(0, 20)))
    close = draw(PRICES)
    if draw(st.booleans()):
        return Candle(day, close, open=draw(MAYBE), volume=draw(MAYBE), market_cap=draw(MAYBE))
    opened = draw(PRICES)
    return Candle(day, close, opened, max(opened, close) * 1.1, min(opened, close) * 0.9, draw(MAYBE))


LISTS = st.lists(candles(), max_size=30)


def days(count: int, first: date = DAY, price: float = 100.0) -> list[Candle]:
    return [
        Candle(first + timedelta(days=n), price + n % 5, price, price + 9, price - 9, 1e6, 1e9)
        for n in range(count)
    ]


@given(LISTS, LISTS)
def test_merging_keeps_every_day_once_in_order_and_loses_nothing(
    one: list[Candle], other: list[Candle]
) -> None:
    kept, _ = merge_candles([], one)
    merged, changed = merge_candles(kept, other)
    found = [c.day for c in merged]
    assert found == sorted({c.day for c in [*one, *other]})
    by_day = {c.day: c for c in merged}
    for before in kept:
        after = by_day[before.day]
        assert after.is_whole or not before.is_whole
        if before.is_whole:
            assert (after.open, after.high, after.low, after.close) == (
                before.open,
                before.high,
                before.low,
                before.close,
            )
        assert after.volume is not None or before.volume is None
    again, unchanged = merge_candles(merged, other)
    assert again == merged
    assert unchanged == 0
    assert changed <= len({c.day for c in other})


@given(LISTS)
def test_a_file_gives_back_what_was_written(found: list[Candle]) -> None:
    import tempfile

    merged, _ = merge_candles([], found)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usd" / "bitcoin.parquet"
        write_candles(path, merged)
        assert read_candles(path) == merged
        extent = read_extent(path)
        assert extent == ((len(merged), merged[0].day, merged[-1].day) if merged else extent)


async def test_only_one_writes_and_the_others_read_along(tmp_path: Path) -> None:
    writer, reader = Archive(tmp_path), Archive(tmp_path)
    writer.open()
    reader.open()
    assert writer.is_writer
    assert not reader.is_writer
    await writer.add("bitcoin", "usd", days(5))
    assert len(await reader.read("bitcoin", "usd")) == 5
    await reader.add("bitcoin", "usd", days(1, DAY + timedelta(days=5)))
    assert len(await reader.read("bitcoin", "usd")) == 6, "its own fetch serves it"
    assert len(read_candles(tmp_path / "usd" / "bitcoin.parquet")) == 5, "it does not write itself"
    await Inbox(reader, SystemClock()).take()
    assert len(read_candles(tmp_path / "usd" / "bitcoin.parquet")) == 5, "nor takes what is handed over"
    await Inbox(writer, SystemClock()).take()
    assert len(read_candles(tmp_path / "usd" / "bitcoin.parquet")) == 6, "the writer took it over"
    assert not list((tmp_path / ".inbox").iterdir())
    await asyncio.sleep(0.01)
    await writer.add("bitcoin", "usd", days(3, DAY + timedelta(days=10)))
    assert len(await reader.read("bitcoin", "usd")) == 9, "what the writer added shows"
    writer.close()
    assert reader.take_writers_place()
    reader.close()


async def test_a_damaged_file_is_set_aside_not_lost_and_not_served(tmp_path: Path) -> None:
    path = tmp_path / "usd" / "bitcoin.parquet"
    write_candles(path, days(50))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\0" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(UnreadableArchive):
        read_candles(path)
    archive = Archive(tmp_path)
    archive.open()
    assert await archive.read("bitcoin", "usd") == ()
    assert path.with_suffix(".unreadable").exists()
    await archive.add("bitcoin", "usd", days(3))
    assert len(read_candles(path)) == 3
    archive.close()


async def test_a_full_disk_costs_the_archive_not_the_reply(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.open()
    (tmp_path / "usd").write_text("a file where the folder should be")
    assert await archive.add("bitcoin", "usd", days(3)) == 3
    assert len(await archive.read("bitcoin", "usd")) == 3
    archive.close()


async def test_concurrent_adds_lose_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.open()
    await asyncio.gather(*(archive.add("a", "usd", days(7, DAY + timedelta(days=7 * n))) for n in range(20)))
    assert len(read_candles(tmp_path / "usd" / "a.parquet")) == 140
    extent = archive.extent()
    assert (extent.coins, extent.candles, extent.first_day) == (1, 140, DAY)
    archive.close()


WRITER = """
import sys
from datetime import date, timedelta
from pathlib import Path
from coincast_market_data.archive.files import write_candles
from coincast_market_data.domain import Candle
n = 0
while True:
    n += 1
    first = date(2000, 1, 1)
    write_candles(Path(sys.argv[1]), [Candle(first + timedelta(days=d), float(n)) for d in range(500)])
    if n == 1:
        print("ready", flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "usd" / "bitcoin.parquet"
    for kill in range(4):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05 + 0.013 * kill)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = read_candles(path)
        assert len(found) == 500
        assert len({c.close for c in found}) == 1, "of one write, not of two"


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
    assert checked.rejected["two rows for one day differ"] == 1
    assert checked.rejected["tenfold off all neighbours"] == 1
    assert [day.day for day in checked.gaps] == [4, 5, 8, 16]


async def test_an_import_takes_good_files_and_says_why_not_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = [f"{DAY + timedelta(days=n)},1,3,0.5,{1 + n / 100},{n}" for n in range(100)]
    head = "date,open,high,low,close,volume_usd"
    (folder / "good.csv").write_text("\n".join([head, *lines]))
    (folder / "bad-header.csv").write_text("day,price\n2025-01-01,3\n")
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
    with pytest.raises(InvalidInput, match=r"no \.csv"):
        candle_files(tmp_path)


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


def test_the_command_imports_beside_a_running_writer(tmp_path: Path) -> None:
    folder, root = tmp_path / "in", tmp_path / "archive"
    folder.mkdir()
    lines = [f"{DAY + timedelta(days=n)},1,3,0.5,2,{n}" for n in range(30)]
    (folder / "bitcoin.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]))
    (folder / "wrong.csv").write_text("day,price\n2025-01-01,3\n")
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


async def test_a_writer_that_does_not_take_the_files_is_told_with_the_fix(tmp_path: Path) -> None:
    writer, other = Archive(tmp_path), Archive(tmp_path)
    writer.open()
    other.open()
    table = pa.table({"date": [DAY], "close": [1.0]})
    pq.write_table(table, tmp_path / "bitcoin.parquet")
    order = hand_over(tmp_path, [tmp_path / "bitcoin.parquet"], "usd")
    with pytest.raises(Conflict, match="stop it and import again"):
        await report_of(order, Inbox(other, SystemClock()), 0.5)
    writer.close()
    (report,) = await report_of(order, Inbox(other, SystemClock()), 30)
    assert (report.file, report.added, report.first_day) == ("bitcoin.parquet", 1, DAY)
    other.close()


async def test_an_order_that_makes_no_sense_is_reported_not_repeated(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.open()
    order = hand_over(tmp_path, [], "not a currency!")
    (report,) = await report_of(order, Inbox(archive, SystemClock()), 30)
    assert "not a currency code" in report.refused
    archive.close()


async def test_a_long_import_leaves_the_loop_to_others(tmp_path: Path) -> None:
    path = tmp_path / "bitcoin.csv"
    days = [DAY + timedelta(days=n % 200) for n in range(60_000)]
    path.write_text("date,close\n" + "".join(f"{day},{100 + n % 7}\n" for n, day in enumerate(days)))
    archive = Archive(tmp_path / "archive")
    archive.open()
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, time.perf_counter() - before)

    # The collector walks whatever the tests before this one have left, which takes as long as the import.
    gc.disable()
    watcher = asyncio.create_task(watch())
    try:
        await asyncio.sleep(0.01)
        started = time.perf_counter()
        await import_file(path, archive, "usd", LAST)
        took = time.perf_counter() - started
        await asyncio.sleep(0.01)
    finally:
        gc.enable()
        watcher.cancel()
        archive.close()
    assert worst < took / 2


async def test_an_order_that_was_taken_away_meanwhile_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    archive.open()
    order = hand_over(tmp_path, [], "usd")
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
