"""Stray entries in the archive are passed by or set aside, named once, and stop no start and no request."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from coincast_chassis.clock import ManualClock
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.inbox import Inbox
from coincast_market_data.archive.store import Archive, submit_candles, write_candles
from coincast_market_data.domain import Candle, HourlyCandle
from coincast_market_data.validation.quality_log import QualityLog

Make = Callable[[Path], object]
START = 1_704_067_200
pytestmark = pytest.mark.timeout(30)


def days(count: int) -> list[Candle]:
    return [Candle(date(2024, 1, 1) + timedelta(days=n), 100.0 + n) for n in range(count)]


def hours(count: int) -> list[HourlyCandle]:
    return [HourlyCandle(START + n * 3600, 100.0 + n) for n in range(count)]


def a_folder(path: Path) -> None:
    path.mkdir()


def a_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").write_text("not ours")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def a_link_to_a_folder(path: Path) -> None:
    path.symlink_to("/etc")


def an_empty_file(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"PAR1 no table PAR1")


def half_a_file(path: Path) -> None:
    write_candles(path, days(50))
    path.write_bytes(path.read_bytes()[:-30])


def a_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)


def a_table_of_texts(path: Path) -> None:
    pq.write_table(pa.table({"date": ["x", "y"], "close": [1.0, 2.0]}), path)


def a_table_of_numbers(path: Path) -> None:
    pq.write_table(pa.table({"date": [1, 2], "close": [1.0, 2.0]}), path)


def garbage_whose_place_aside_is_taken(path: Path) -> None:
    path.write_bytes(b"garbage")
    a_full_folder(path.with_suffix(".unreadable"))


STRAYS = [
    a_folder, a_full_folder, a_pipe, a_link_to_nothing, a_link_to_itself, a_link_to_a_folder, an_empty_file,
    garbage, half_a_file, a_huge_file, a_table_of_texts, a_table_of_numbers,
    garbage_whose_place_aside_is_taken,
]  # fmt: skip


def placed(path: Path, make: Make) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    return path


async def used(root: Path) -> tuple[list[str], int, int]:
    """Start, read, add and restate as a service does; return the named entries and what is on disk then."""
    with capture_logs() as logs:
        archive = Archive(root)
        archive.open()
        hourly = HourlyArchive(archive, retention_days=0)
        assert archive.extent().coins == len(archive.stored_pairs())
        await archive.last_closes([("bitcoin", "usd"), ("ethereum", "usd")])
        for _ in range(3):
            assert await archive.read("bitcoin", "usd") == ()
            assert await hourly.read("bitcoin", "usd") == ()
        await archive.read_known_at("bitcoin", "usd", START)
        await hourly.read_known_at("bitcoin", "usd", START)
        for coin in ("bitcoin", "ethereum"):
            assert await archive.add(coin, "usd", days(31)) == 31
            assert await hourly.add(coin, "usd", hours(5), START + 4 * 3600) == 5
        assert await archive.replace("bitcoin", "usd", days(30), START) == 1
        assert await hourly.remove("bitcoin", "usd", {START}, START) == 1
        archive.close()
    assert str(root) not in str(logs)
    again = Archive(root)
    again.open()
    stored = len(await again.read("bitcoin", "usd")), len(await again.read("ethereum", "usd"))
    assert stored[1] == 31
    again.close()
    return [line["name"] for line in logs if line["event"] == "archive_entry_skipped"], *stored


@pytest.mark.parametrize("make", STRAYS)
@pytest.mark.parametrize("name", ["usd/bitcoin.parquet", "hourly/usd/bitcoin.parquet"])
async def test_an_entry_in_the_place_of_a_coin_is_set_aside(tmp_path: Path, name: str, make: Make) -> None:
    placed(tmp_path / name, make)
    named, stored, _ = await used(tmp_path)
    assert named.count("bitcoin.parquet") <= 2  # at the start, and when it is read
    assert stored == 30, "the coin is stored where the entry was"


@pytest.mark.parametrize("make", STRAYS)
@pytest.mark.parametrize("folder", ["revisions", "hourly/revisions"])
async def test_an_entry_among_revisions_is_passed_by(tmp_path: Path, folder: str, make: Make) -> None:
    placed(tmp_path / folder / "usd/bitcoin/1999999999.parquet", make)
    named, stored, _ = await used(tmp_path)
    assert 1 <= len(named) <= 2  # for its rows, and for having no candles
    assert set(named) == {"1999999999.parquet"}
    assert stored == 30


@pytest.mark.parametrize("make", [a_folder, a_full_folder, a_pipe, a_link_to_nothing, an_empty_file])
async def test_an_entry_in_the_place_of_the_lock_is_set_aside(tmp_path: Path, make: Make) -> None:
    placed(tmp_path / ".writer.lock", make)
    _, stored, _ = await used(tmp_path)
    assert stored == 30


@pytest.mark.parametrize("name", ["revisions/usd/bitcoin", "hourly/revisions/usd", "revisions"])
async def test_a_file_in_the_place_of_revisions_costs_them_only(tmp_path: Path, name: str) -> None:
    placed(tmp_path / name, an_empty_file)
    _, stored, _ = await used(tmp_path)
    assert stored == 30


@pytest.mark.parametrize(
    "name",
    [
        "usd/bit\ncoin.parquet", "usd/Bitcoin.parquet", "usd/ bitcoin.parquet",
        "u s d\n/bitcoin.parquet", "USD/bitcoin.parquet", ".hidden/bitcoin.parquet", "hourly/bitcoin.parquet",
        "revisions/bitcoin.parquet", "usd/" + "a" * 200 + ".parquet", "usd/.writing-x.parquet",
    ],
)  # fmt: skip
async def test_files_that_are_named_after_no_coin_are_no_histories(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_candles(path, days(9))
    archive = Archive(tmp_path)
    archive.open()
    assert archive.stored_pairs() == []
    assert archive.extent().candles == archive.extent().size_bytes == 0
    assert path.exists()
    archive.close()


def a_pipe_as_file(order: Path) -> None:
    (order / "order.json").write_bytes(b'{"currency": "usd", "report": true}')
    os.mkfifo(order / "bitcoin.csv")


def a_folder_as_report(order: Path) -> None:
    (order / "order.json").write_bytes(b"{")
    (order / "report.json").mkdir()


ORDERS: dict[str, Make] = {
    "a pipe": lambda order: os.mkfifo(order / "order.json"),
    "a huge order": lambda order: a_huge_file(order / "order.json"),
    "no JSON": lambda order: (order / "order.json").write_bytes(b"\xff\xfe{"),
    "deep JSON": lambda order: (order / "order.json").write_bytes(b"[" * 60_000),
    "null": lambda order: (order / "order.json").write_bytes(b"null"),
    "a list as currency": lambda order: (order / "order.json").write_bytes(
        b'{"currency": ["usd"], "report": true}'
    ),
    "a path as currency": lambda order: (order / "order.json").write_bytes(
        b'{"currency": "../..", "report": true}'
    ),
    "no file": lambda order: (order / "order.json").write_bytes(b'{"currency": "usd", "report": true}'),
    "a pipe as file": a_pipe_as_file,
    "a link to nothing": lambda order: (order / "order.json").symlink_to("nowhere"),
    "a folder in the place of the report": a_folder_as_report,
}  # fmt: skip


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("name", ["00-order", "00\nline\n"])
async def test_a_poisonous_order_is_taken_once_and_stops_no_other(
    tmp_path: Path, make: Make, name: str
) -> None:
    archive = Archive(tmp_path)
    archive.open()
    order = tmp_path / ".inbox" / name
    order.mkdir(parents=True)
    make(order)
    submit_candles(tmp_path, "bitcoin", "usd", days(30))
    inbox = Inbox(archive, ManualClock(datetime(2024, 3, 1, tzinfo=UTC).timestamp()))
    with capture_logs() as logs:
        for _ in range(5):
            await inbox.take()
    assert len(await archive.read("bitcoin", "usd")) == 30
    about = [line for line in logs if name in (line.get("order"), line.get("name"))]
    assert len(about) <= 2, about
    assert str(tmp_path) not in str(logs)
    archive.close()


async def test_an_order_that_cannot_be_removed_is_imported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an order of another user: neither its report can be written, nor can it be removed."""
    archive = Archive(tmp_path)
    archive.open()
    for coin in ("bitcoin", "ethereum"):
        submit_candles(tmp_path, coin, "usd", days(30))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    inbox = Inbox(archive, ManualClock(datetime(2024, 3, 1, tzinfo=UTC).timestamp()))
    with capture_logs() as logs:
        for _ in range(5):
            await inbox.take()
    assert len([line for line in logs if line["event"] == "inbox_candles_taken"]) == 2
    archive.close()


QUALITY: dict[str, Make] = {
    "a folder": a_folder,
    "a pipe": a_pipe,
    "a huge file": a_huge_file,
    "null": lambda path: path.write_bytes(b"null"),
    "rows of texts": lambda path: path.write_bytes(b'["abcde", "fghij"]'),
    "negative": lambda path: path.write_bytes(b'[["bitcoin", "usd", -1, 0, []]]'),
    "too large": lambda path: path.write_bytes(b'[["bitcoin", "usd", 1, 99999999999, []]]'),
    "true": lambda path: path.write_bytes(b'[["bitcoin", "usd", true, 0, []]]'),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "half": lambda path: path.write_bytes(b'[["bitcoin", "usd", 1,'),
}


@pytest.mark.parametrize("make", QUALITY.values(), ids=QUALITY)
async def test_a_poisonous_quality_log_is_named_and_starts_empty(tmp_path: Path, make: Make) -> None:
    make(tmp_path / ".quality.json")
    quality = QualityLog(tmp_path / ".quality.json")
    with capture_logs() as logs:
        quality.open()
        quality.note("bitcoin", "usd", "a false point")
        await quality.save()
    assert quality.of("bitcoin", "usd").quarantined_points == 1
    assert len([line for line in logs if line["event"] == "quality_log_unreadable"]) == 1
    assert str(tmp_path) not in str(logs)
