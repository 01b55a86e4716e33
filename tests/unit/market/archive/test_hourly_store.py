"""The hourly archive: stored hours never change, files are whole, old hours go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coincast_market_data.archive.hourly_store import MAX_COINS_IN_MEMORY, HourlyArchive, read_hours
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
