"""Former candles: found by the moment at which they were still the stored ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coincast_chassis.plain_files import StrayLog
from coincast_market_data.archive.revisions import PastCandles, Revisions, UnreadableArchive


@pytest.fixture
def revisions(tmp_path: Path) -> Revisions:
    """Changes at 100 and 200 s; each file has its own name as its only candle."""
    made = Revisions(tmp_path, StrayLog("archive_entry_skipped"))
    for at in (100.7, 200.0):
        path = made.new_path("bitcoin", "usd", at)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.stem)
    (path.parent / "notes.parquet").touch()
    return made


def test_changes_are_listed_by_time_and_other_files_are_passed_over(revisions: Revisions) -> None:
    assert revisions.times("bitcoin", "usd") == [100, 200]
    assert revisions.times("bitcoin", "eur") == revisions.times("ethereum", "usd") == []


def test_two_changes_within_a_second_get_two_names(revisions: Revisions) -> None:
    assert revisions.new_path("bitcoin", "usd", 200.9).name == "201.parquet"
    assert revisions.new_path("bitcoin", "usd", 150.0).name == "201.parquet"


def read(path: Path) -> list[str]:
    """Return the content of a file as its one candle; only numbers can be read."""
    if not path.is_file() or not path.read_text().isdigit():
        raise UnreadableArchive("no candles")
    return [path.read_text()]


def known_at(revisions: Revisions, at: float) -> PastCandles[str]:
    return revisions.read_known_at("bitcoin", "usd", at, read=read, newest=["newest"])


@pytest.mark.parametrize(
    ("at", "candle", "undone"),
    [(0.0, "100", [100, 200]), (99.9, "100", [100, 200]), (100.0, "200", [200]), (200.0, "newest", [])],
)
def test_the_candles_of_a_moment_are_those_before_the_next_change(
    revisions: Revisions, at: float, candle: str, undone: list[int]
) -> None:
    assert known_at(revisions, at) == PastCandles([candle], undone, [])


@pytest.mark.parametrize("fault", ["empty", "folder", "link to nothing"])
@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ([100], PastCandles(["200"], [200], [100])),
        ([200], PastCandles(["100"], [100, 200], [])),
        ([100, 200], PastCandles(["newest"], [], [100, 200])),
    ],
)
def test_a_change_is_included_where_the_file_from_before_it_cannot_be_read(
    revisions: Revisions, fault: str, broken: list[int], expected: PastCandles[str]
) -> None:
    folder = revisions.new_path("bitcoin", "usd", 0.0).parent
    for stamp in broken:
        path = folder / f"{stamp}.parquet"
        path.unlink()
        if fault == "empty":
            path.touch()
        elif fault == "folder":
            path.mkdir()
        else:
            path.symlink_to(folder / "nothing")
    assert known_at(revisions, 50.0) == expected
    shutil.rmtree(folder)
    assert known_at(revisions, 50.0) == PastCandles(["newest"], [], [])


@pytest.mark.parametrize("name", ["²", "٣", "-1", "1e3", "", " 7", "9" * 11, "7\n", "0x7"])
def test_entries_that_are_no_revisions_are_passed_over(revisions: Revisions, name: str) -> None:
    folder = revisions.new_path("bitcoin", "usd", 0.0).parent
    (folder / f"{name}.parquet").touch()
    assert revisions.times("bitcoin", "usd") == [100, 200]
