"""Former candles: found by the moment at which they were still the stored ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from coincast_market_data.archive.revisions import Revisions


@pytest.fixture
def revisions(tmp_path: Path) -> Revisions:
    """Changes at 100 and 200 s."""
    made = Revisions(tmp_path)
    for at in (100.7, 200.0):
        path = made.new_path("bitcoin", "usd", at)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (path.parent / "notes.parquet").touch()
    return made


def test_changes_are_listed_by_time_and_other_files_are_passed_over(revisions: Revisions) -> None:
    assert revisions.times("bitcoin", "usd") == [100, 200]
    assert revisions.times("bitcoin", "eur") == revisions.times("ethereum", "usd") == []


def test_two_changes_within_a_second_get_two_names(revisions: Revisions) -> None:
    assert revisions.new_path("bitcoin", "usd", 200.9).name == "201.parquet"
    assert revisions.new_path("bitcoin", "usd", 150.0).name == "201.parquet"


@pytest.mark.parametrize(
    ("at", "name"), [(0.0, "100.parquet"), (99.9, "100.parquet"), (100.0, "200.parquet"), (200.0, None)]
)
def test_the_candles_of_a_moment_are_those_before_the_next_change(
    revisions: Revisions, at: float, name: str | None
) -> None:
    paths = revisions.paths_known_at("bitcoin", "usd", at)
    assert next((path.name for path in paths), None) == name


@pytest.mark.parametrize("name", ["²", "٣", "-1", "1e3", "", " 7", "9" * 11, "7\n", "0x7", "300"])
def test_entries_that_are_no_revisions_are_passed_over(revisions: Revisions, name: str) -> None:
    folder = revisions.new_path("bitcoin", "usd", 0.0).parent
    if name == "300":  # a folder with the name of a revision
        (folder / "300.parquet").mkdir()
    else:
        (folder / f"{name}.parquet").touch()
    assert revisions.times("bitcoin", "usd") == [100, 200]
