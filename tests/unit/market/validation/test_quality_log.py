"""The record of bad data: by coin and currency, over restarts and replicas."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from coincast_market_data.domain import Quality
from coincast_market_data.validation.quality_log import MAX_NOTES, QualityLog, add_findings

REPORTS = st.builds(
    Quality,
    st.just("a"),
    st.just("usd"),
    duplicate_points=st.integers(0, 99),
    quarantined_points=st.integers(0, 99),
    notes=st.lists(st.text(max_size=3), max_size=MAX_NOTES, unique=True),
)


@given(REPORTS, REPORTS)
def test_findings_add_up(before: Quality, later: Quality) -> None:
    both = add_findings(before, later)
    assert both.quarantined_points == before.quarantined_points + later.quarantined_points
    assert both.duplicate_points == before.duplicate_points + later.duplicate_points
    assert both.notes[: len(later.notes)] == later.notes, "the newest stand first"
    assert len(both.notes) == len(set(both.notes)) <= MAX_NOTES


async def test_counts_outlive_a_restart_and_are_of_one_currency_each(tmp_path: Path) -> None:
    path = tmp_path / ".quality.json"
    book = QualityLog(path)
    book.open()
    book.note("bitcoin", "usd", "3 points of a series: jump", points=3)
    book.duplicates("bitcoin", "eur", 2)
    await book.save()
    book.note("bitcoin", "usd", "price: not_positive")
    assert book.of("bitcoin", "usd").quarantined_points == 4, "kept and new together"
    await book.save()
    again = QualityLog(path)
    again.open()
    usd, eur = again.of("bitcoin", "usd"), again.of("bitcoin", "eur")
    assert (usd.quarantined_points, usd.duplicate_points) == (4, 0)
    assert usd.notes == ["price: not_positive", "3 points of a series: jump"]
    assert (eur.quarantined_points, eur.duplicate_points) == (0, 2)
    assert again.currencies("bitcoin") == {"usd", "eur"}
    assert again.currencies("solana") == set()


async def test_replicas_add_to_one_record(tmp_path: Path) -> None:
    books = [QualityLog(tmp_path / ".quality.json") for _ in range(5)]
    for _ in range(10):
        for book in books:
            book.note("bitcoin", "usd", "jump")
        await asyncio.gather(*(book.save() for book in books))
    last = QualityLog(tmp_path / ".quality.json")
    last.open()
    assert last.of("bitcoin", "usd").quarantined_points == 50


async def test_a_damaged_record_begins_again_and_a_full_disk_loses_no_count(tmp_path: Path) -> None:
    path = tmp_path / ".quality.json"
    path.write_bytes(b"{no json")
    book = QualityLog(path)
    book.open()
    assert book.of("bitcoin", "usd").quarantined_points == 0
    blocked = QualityLog(tmp_path / "file" / ".quality.json")
    (tmp_path / "file").write_text("where the folder should be")
    blocked.note("bitcoin", "usd", "jump")
    await blocked.save()
    blocked.note("bitcoin", "usd", "jump")
    assert blocked.of("bitcoin", "usd").quarantined_points == 2
    (tmp_path / "file").unlink()
    await blocked.save()
    assert blocked.of("bitcoin", "usd").quarantined_points == 2


def test_the_book_is_bounded_and_newest_first() -> None:
    book = QualityLog(max_coins=3)
    for n in range(50):
        book.note("a", "usd", f"note {n}")
    assert book.of("a", "usd").notes[0] == "note 49"
    assert len(book.of("a", "usd").notes) == MAX_NOTES
    for coin in "bcdef":
        book.note(coin, "usd", "x")
    assert book.of("a", "usd").quarantined_points == 0, "forgotten, not grown without end"
