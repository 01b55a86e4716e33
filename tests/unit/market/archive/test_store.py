"""The archive: merging, whole files, one writer, damaged files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock, SystemClock
from coincast_market_data.archive.inbox import Inbox
from coincast_market_data.archive.revisions import UnreadableArchive
from coincast_market_data.archive.store import (
    Archive,
    merge_candles,
    read_candles,
    read_extent,
    write_candles,
)
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert reader.acquire_writer_lock()
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
from coincast_market_data.archive.store import write_candles
from coincast_market_data.domain import Candle
n = 0
while True:
    n += 1
    first = date(2020, 1, 1)
    write_candles(Path(sys.argv[1]), [Candle(first + timedelta(days=d), float(n)) for d in range(500)])
    if n == 1:
        print("ready", flush=True)
"""


@pytest.mark.slow
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


def test_an_archive_without_arrival_times_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bitcoin.parquet"
    write_candles(path, days(5))
    old = pq.read_table(path).drop_columns(["received_at"])
    pq.write_table(old, path)
    assert read_candles(path) == days(5)
    assert {candle.received_at for candle in read_candles(path)} == {None}


def test_arrival_times_take_little_room(tmp_path: Path) -> None:
    """Three years, of which one came day by day."""
    plain = days(1095)
    dated = [
        replace(candle, received_at=1.7e9 + n * 86_400 + (n * 7919) % 3600 if n > 730 else None)
        for n, candle in enumerate(plain)
    ]
    write_candles(tmp_path / "plain.parquet", plain)
    write_candles(tmp_path / "dated.parquet", dated)
    sizes = [(tmp_path / f"{name}.parquet").stat().st_size for name in ("plain", "dated")]
    assert sizes[1] - sizes[0] < 365 * 8
    assert [c.received_at for c in read_candles(tmp_path / "dated.parquet")] == [
        c.received_at and int(c.received_at) for c in dated
    ]


async def test_arrival_times_survive_richer_days_replacements_and_the_hand_over(tmp_path: Path) -> None:
    writer, reader = Archive(tmp_path), Archive(tmp_path)
    writer.open()
    reader.open()
    await writer.add("bitcoin", "usd", days(3), at=10000.0)
    await writer.add("bitcoin", "usd", days(1, DAY + timedelta(days=3)), at=20000.0)
    await reader.add("bitcoin", "usd", days(2, DAY + timedelta(days=3)), at=30000.0)
    await Inbox(writer, ManualClock(1.8e9)).take()
    assert [c.received_at for c in await writer.read("bitcoin", "usd")] == [None, None, None, 20000, 30000]
    await writer.add("bitcoin", "usd", days(4, price=100.0), at=40000.0)
    assert (await writer.read("bitcoin", "usd"))[3].received_at == 20000
    restated = days(6, price=3.0)
    await writer.replace("bitcoin", "usd", restated, 50000.0)
    assert [c.received_at for c in await writer.read("bitcoin", "usd")] == [
        None,
        None,
        None,
        20000,
        30000,
        50000,
    ]
    then = await writer.read_known_at("bitcoin", "usd", 45000.0)
    assert [c.received_at for c in then.candles] == [None, None, None, 20000, 30000]
    writer.close()
    reader.close()


async def test_what_is_not_written_yet_outlives_the_memory(tmp_path: Path) -> None:
    archive = Archive(tmp_path, max_coins_in_memory=3)
    archive.open()
    for n in range(10):
        await archive.add(f"coin{n}", "usd", days(4), flush=False)
    for n in range(10):
        assert await archive.read(f"coin{n}", "usd") == tuple(days(4))
        await archive.flush(f"coin{n}", "usd")
        assert read_candles(tmp_path / "usd" / f"coin{n}.parquet") == days(4)
    archive.close()


async def test_the_spans_of_a_first_fetch_tell_no_arrival_in_whatever_order_they_come(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.open()
    day = date(2025, 1, 1)
    spans = [[day + timedelta(days=start + n) for n in range(10)] for start in (10, 20, 0)]
    for number, span in enumerate(spans):
        await archive.add("bitcoin", "usd", [Candle(each, 100.0) for each in span], at=2e9 + 60 * number)
    assert {candle.received_at for candle in await archive.read("bitcoin", "usd")} == {None}
    await archive.add("bitcoin", "usd", [Candle(day + timedelta(days=30), 100.0)], at=2e9 + 86_400)
    assert (await archive.read("bitcoin", "usd"))[-1].received_at == 2e9 + 86_400
    archive.close()
