"""The hourly archive: stored hours never change, files are whole, old hours go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coincast_market_data.archive.hourly_store import (
    MAX_COINS_IN_MEMORY,
    NUMBERS,
    HourlyArchive,
    read_hours,
    write_hours,
)
from coincast_market_data.archive.store import Archive
from coincast_market_data.domain import HourlyCandle

HOUR, DAY = 3600, 86_400
START = 1_756_717_200 // DAY * DAY


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    found = Archive(tmp_path)
    found.open()
    yield found
    found.close()


def hours(first: int, count: int, close: float = 100.0) -> list[HourlyCandle]:
    return [HourlyCandle(START + (first + n) * HOUR, close + n, open=99.0, volume=7.0) for n in range(count)]


async def test_hours_survive_a_restart_and_never_change(archive: Archive) -> None:
    store = HourlyArchive(archive, retention_days=0)
    newest = START + 100 * HOUR
    assert await store.add("bitcoin", "usd", hours(0, 10), newest) == 10
    assert await store.add("bitcoin", "usd", hours(5, 10, close=555.0), newest) == 5
    again = HourlyArchive(archive, retention_days=0)
    found = await again.read("bitcoin", "usd")
    assert list(found)[:10] == hours(0, 10)
    assert [candle.start for candle in found] == [START + n * HOUR for n in range(15)]
    assert await again.read("bitcoin", "eur") == ()


async def test_hours_past_retention_go(archive: Archive) -> None:
    store = HourlyArchive(archive, retention_days=1)
    await store.add("bitcoin", "usd", hours(0, 30), START + 29 * HOUR)
    assert [candle.start for candle in await store.read("bitcoin", "usd")] == [
        START + n * HOUR for n in range(6, 30)
    ]


async def test_an_hour_tenfold_off_the_stored_one_before_is_left_out(archive: Archive) -> None:
    store = HourlyArchive(archive, retention_days=0)
    await store.add("bitcoin", "usd", hours(0, 3), START + 9 * HOUR)
    assert await store.add("bitcoin", "usd", hours(3, 1, close=5000.0), START + 9 * HOUR) == 0
    assert await store.add("bitcoin", "usd", hours(3, 1, close=103.0), START + 9 * HOUR) == 1


async def test_an_unreadable_file_is_set_aside_and_filled_again(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "hourly" / "usd" / "bitcoin.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 no")
    store = HourlyArchive(archive, retention_days=0)
    assert await store.read("bitcoin", "usd") == ()
    assert path.with_suffix(".unreadable").exists()
    await store.add("bitcoin", "usd", hours(0, 3), START + 9 * HOUR)
    assert read_hours(path) == hours(0, 3)


async def test_a_replica_that_is_not_the_writer_writes_no_file(archive: Archive, tmp_path: Path) -> None:
    other = Archive(tmp_path)
    other.open()
    store = HourlyArchive(other, retention_days=0)
    await store.add("bitcoin", "usd", hours(0, 3), START + 9 * HOUR)
    assert len(await store.read("bitcoin", "usd")) == 3
    assert not (tmp_path / "hourly").exists()
    other.close()


async def test_hours_without_flush_reach_the_file_at_flush_and_outlive_eviction_from_memory(
    archive: Archive, tmp_path: Path
) -> None:
    store = HourlyArchive(archive, retention_days=0)
    assert await store.add("bitcoin", "usd", hours(0, 3), START + 9 * HOUR, flush=False) == 3
    for number in range(MAX_COINS_IN_MEMORY + 1):
        await store.read(f"other-{number}", "usd")
    assert list(await store.read("bitcoin", "usd")) == hours(0, 3)
    path = tmp_path / "hourly" / "usd" / "bitcoin.parquet"
    assert not path.exists()
    await store.flush("bitcoin", "usd")
    assert read_hours(path) == hours(0, 3)


def arrivals(candles: Sequence[HourlyCandle]) -> list[float | None]:
    return [candle.received_at for candle in candles]


async def test_hours_that_come_after_the_first_fetch_have_the_time_of_their_arrival(archive: Archive) -> None:
    store = HourlyArchive(archive, retention_days=0)
    newest = START + 100 * HOUR
    began = START + 30.0 * HOUR
    # The past comes in several calls, the newest first; it tells no arrival.
    await store.add("bitcoin", "usd", hours(10, 10), newest, at=began)
    await store.add("bitcoin", "usd", hours(0, 10), newest, at=began + 60)
    await store.add("bitcoin", "usd", hours(20, 2), newest, at=began + 2 * HOUR)
    # A stored hour keeps its time; hours before the first stored one tell none.
    await store.add("bitcoin", "usd", hours(21, 2), newest, at=began + 3 * HOUR)
    await store.add("bitcoin", "usd", hours(-3, 3), newest, at=began + 4 * HOUR)
    # A file of a user says nothing of when its hours could be known.
    await store.add("bitcoin", "usd", hours(23, 1), newest)
    again = HourlyArchive(archive, retention_days=0)
    assert arrivals(await again.read("bitcoin", "usd")) == [
        *[None] * 23,
        began + 2 * HOUR,
        began + 2 * HOUR,
        began + 3 * HOUR,
        None,
    ]


async def test_false_hours_stay_in_a_revision(archive: Archive) -> None:
    store = HourlyArchive(archive, retention_days=0)
    newest, false = START + 100 * HOUR, START + 5 * HOUR
    await store.add("bitcoin", "usd", hours(0, 10), newest, at=START + 10.0 * HOUR)
    dropped_at = START + 20.0 * HOUR
    assert await store.remove("bitcoin", "usd", {false}, dropped_at) == 1
    assert await store.remove("bitcoin", "usd", {false}, dropped_at) == 0, "no revision without a change"
    await store.add("bitcoin", "usd", hours(5, 1, close=104.0), newest, at=dropped_at + 60)
    for at, close, undone in (
        (dropped_at - 1, 105.0, [int(dropped_at)]),
        (dropped_at, 104.0, []),
        (dropped_at + 100, 104.0, []),
    ):
        past = await store.read_known_at("bitcoin", "usd", at)
        assert {c.start: c.close for c in past.candles}[false] == close
        assert (past.undone, past.included) == (undone, [])
    mended = {c.start: c for c in await store.read("bitcoin", "usd")}[false]
    assert mended.received_at == dropped_at + 60


def test_arrivals_take_little_room_and_files_without_them_are_read(tmp_path: Path) -> None:
    plain = hours(0, 24 * 90)
    dated = [replace(candle, received_at=START + n // 24 * DAY + 7.0) for n, candle in enumerate(plain)]
    write_hours(tmp_path / "plain.parquet", plain)
    write_hours(tmp_path / "dated.parquet", dated)
    sizes = [(tmp_path / f"{name}.parquet").stat().st_size for name in ("plain", "dated")]
    assert sizes[1] - sizes[0] < 90 * 16
    assert arrivals(read_hours(tmp_path / "dated.parquet")) == [c.received_at for c in dated]
    old = {name: [getattr(candle, name) for candle in plain] for name in ("start", *NUMBERS)}
    schema = pa.schema([("start", pa.int64()), *((name, pa.float64()) for name in NUMBERS)])
    pq.write_table(pa.table(old, schema=schema), tmp_path / "old.parquet")
    assert read_hours(tmp_path / "old.parquet") == plain
    assert set(arrivals(read_hours(tmp_path / "old.parquet"))) == {None}
