"""The file of open statements and tallies: once each, bounded, and whole after a failure."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from coincast_modelkit.scenarios.statements import TouchStatement, read_statement
from coincast_training.scoring.risk import store as module
from coincast_training.scoring.risk.outcomes import Outcome, last_due, outcomes_of
from coincast_training.scoring.risk.store import RiskStore, ScoredDays
from tests.unit.training.scoring.risk.risk_statements import candles_of, losses, touch

DAY = dt.date(2025, 9, 1)
FAR = dt.date(2025, 12, 31)


@pytest.fixture
def store(tmp_path: Path) -> RiskStore:
    return RiskStore(tmp_path / "ledger" / "risk.sqlite")


def score(store: RiskStore, until: dt.date) -> None:
    histories = {
        "bitcoin": candles_of([101.0, 106.0, 90.0]),
        "ethereum": candles_of([10.0] * 3, coin="ethereum"),
    }
    scored = []
    for one in store.due(until):
        outcomes: list[Outcome] = []
        day, last = one.next_due, last_due(one.statement)
        while day <= min(last, until):
            outcomes += outcomes_of(one.statement, day, histories) or []
            day += dt.timedelta(days=1)
        scored.append(ScoredDays(one, tuple(outcomes), day if day <= last else None))
    store.close(scored, until)


def test_statements_wait_for_their_days_and_go_when_the_last_is_scored(store: RiskStore) -> None:
    assert store.add([touch(), losses()]).stored == 2
    assert [one.next_due for one in store.due(DAY)] == [DAY]
    score(store, DAY)
    assert [(type(one.statement), one.next_due.day) for one in store.due(DAY + dt.timedelta(days=2))] == [
        (type(losses()), 2),
        (type(touch()), 2),
    ]
    score(store, DAY + dt.timedelta(days=2))
    assert store.due(FAR) == []
    assert store.counts() == (0, 2 * 3 + 2)
    tallies = {(t.kind, t.horizon_days, t.bin): t for t in store.tallies(dt.date.min)}
    assert tallies["touch", 1, "2"].came_true == 0
    assert tallies["touch", 2, "4"].came_true == tallies["touch", 3, "6"].came_true == 1
    assert tallies["touch", 2, "4"].squared_error == pytest.approx(0.36)
    assert tallies["exceedance", 2, "90"].promised == pytest.approx(0.1)


def test_no_weights_stay_once_a_portfolio_is_scored(store: RiskStore, tmp_path: Path) -> None:
    store.add([losses(weights={"a-rare-coin": 1.0}, last_prices={"a-rare-coin": 1.0})])
    [one] = store.due(FAR)
    path = tmp_path / "ledger" / "risk.sqlite"
    assert b"a-rare-coin" in path.read_bytes()
    store.close([ScoredDays(one, (), None)], DAY)
    assert store.open_coins() == []
    assert b"a-rare-coin" not in path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT COUNT(*) FROM statements WHERE line IS NOT NULL").fetchone() == (0,)


# Parts of one question in the order they come, as first and last day; the days that are stored.
PARTS = {
    "twice": ([(1, 3), (1, 3)], [(1, 3)]),
    "for more days": ([(1, 3), (1, 5)], [(1, 3), (4, 5)]),
    "for fewer days": ([(1, 5), (1, 3)], [(1, 5)]),
    "its later part alone": ([(1, 3), (4, 5)], [(1, 3), (4, 5)]),
    "its later part twice": ([(1, 5), (4, 5)], [(1, 5)]),
    "of another replica, overlapping": ([(1, 3), (2, 5), (1, 7)], [(1, 3), (4, 5), (6, 7)]),
}


@pytest.mark.parametrize(("given", "stored"), PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("scored_between", [False, True])
def test_each_day_of_a_question_is_scored_once(
    store: RiskStore, given: list[tuple[int, int]], stored: list[tuple[int, int]], scored_between: bool
) -> None:
    found: list[TouchStatement] = []
    for first, last in given:
        part = tuple(0.1 * day for day in range(first, last + 1))
        store.add([touch(first_day=first, touch=part, close_beyond=part)])
        if scored_between:
            due = store.due(FAR)
            found += [one.statement for one in due if isinstance(one.statement, TouchStatement)]
            store.close([ScoredDays(one, (), None) for one in due], DAY)
    found += [one.statement for one in store.due(FAR) if isinstance(one.statement, TouchStatement)]
    assert [(s.first_day, s.last_day) for s in found] == stored
    assert all(s.touch[0] == pytest.approx(0.1 * s.first_day) for s in found)


def test_a_day_takes_only_so_many_statements(store: RiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOUCHES_A_DAY", 3)
    monkeypatch.setattr(module, "MAX_PORTFOLIOS_A_DAY", 1)
    many = [touch(level) for level in (101.0, 102.0, 103.0, 104.0)]
    added = store.add([*many, losses(), replace(losses(), statement_id="other")])
    assert (added.stored, added.dropped) == (4, 2)
    assert store.add(many).dropped == 1
    assert store.add([replace(touch(101.0), as_of="2025-09-01", statement_id="next day")]).stored == 1


def test_old_ids_and_tallies_are_deleted(store: RiskStore) -> None:
    store.add([touch(), losses()])
    score(store, DAY + dt.timedelta(days=2))
    assert len(store.tallies(dt.date.min)) == 8
    store.close([], dt.date(2025, 9, 3) + dt.timedelta(days=module.REMEMBERED_DAYS))
    assert store.add([touch()]).stored == 0
    store.close([], dt.date(2025, 9, 4) + dt.timedelta(days=module.REMEMBERED_DAYS))
    assert store.add([touch()]).stored == 1
    store.close([], dt.date(2025, 9, 1) + dt.timedelta(days=module.TALLY_DAYS))
    assert store.tallies(dt.date.min) == []


def test_a_failure_in_the_middle_changes_nothing(store: RiskStore) -> None:
    store.add([touch()])
    [one] = store.due(DAY)
    good = Outcome("touch", 1, 0.2, True)
    bad = Outcome("touch", 1, float("nan"), True)
    with pytest.raises((ValueError, OSError)):
        store.close([ScoredDays(one, (good, bad), None)], DAY)
    assert store.counts() == (1, 0)
    assert [again.key for again in store.due(DAY)] == [one.key]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("stray", ["text", "half a database", "folder", "pipe", "link to nothing"])
def test_what_is_no_database_is_set_aside(tmp_path: Path, stray: str) -> None:
    path = tmp_path / "risk.sqlite"
    match stray:
        case "text":
            path.write_text("not a database, but text that is long enough to be looked at")
        case "half a database":
            RiskStore(path).add([touch(statement_id="a")])
            path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(tmp_path / "elsewhere")
    with capture_logs() as logs:
        for _ in range(2):
            RiskStore(path).add([touch(statement_id="b")])
    assert RiskStore(path).counts() == (1, 0)
    assert len(logs) == (stray != "link to nothing")
    assert str(tmp_path) not in str(logs)
    assert (tmp_path / "risk.unreadable").exists() == (stray != "link to nothing")


def test_a_statement_that_cannot_be_read_is_passed_by(tmp_path: Path) -> None:
    store = RiskStore(tmp_path / "risk.sqlite")
    store.add([touch(statement_id=name) for name in "abcdefg"])
    database = sqlite3.connect(tmp_path / "risk.sqlite")
    for name, line in zip("abcdef", ["", "null", "[" * 50_000, b"\xff", 7, "{}"], strict=True):
        database.execute("UPDATE statements SET line = ? WHERE statement_id = ?", (line, name))
    database.commit()
    database.close()
    assert [one.statement.statement_id for one in store.due(dt.date(2030, 1, 1))] == ["g"]
    assert store.open_coins() == ["bitcoin"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"statement_id": 7}, {"coin_id": None}, {"as_of": "0001-01-01"}, {"as_of": 20250901},
        {"served_by": []}, {"first_day": 10**9}, {"first_day": "1"}, {"touch": "x"},
        {"touch": 5}, {"last_price": float("nan")},
        {"level": "1"}, {"close_beyond": None}, {"vs_currency": ""},
    ],
)  # fmt: skip
def test_a_statement_of_wrong_types_is_refused(wrong: dict[str, object]) -> None:
    whole = json.loads(touch(statement_id="a").to_json())
    assert read_statement(json.dumps(whole)) == touch(statement_id="a")
    with pytest.raises(ValueError):
        read_statement(json.dumps(whole | wrong))
