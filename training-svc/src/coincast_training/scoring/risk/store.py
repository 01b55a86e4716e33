"""Store open risk statements, and tallies of scored ones, in one SQLite file of limited size.

A statement is deleted when its last day is scored. The tallies only count the statements and how many came
true, by day, model, horizon and stated probability. So no portfolio is stored longer than its horizon.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from coincast_chassis.plain_files import StrayLog, set_aside
from coincast_modelkit.scenarios.live_record import EXCEEDANCE, tenth_of
from coincast_modelkit.scenarios.statements import (
    RiskStatement,
    TouchStatement,
    coins_of,
    read_statement,
)
from coincast_training.scoring.risk.outcomes import Outcome, first_due, last_due

# Maximum of statements for each daily close; further ones are dropped. They would add little information,
# since all statements of a day count as one observation.
MAX_TOUCHES_A_DAY = 10_000
MAX_PORTFOLIOS_A_DAY = 1_000
# The id of a scored statement is stored for this time, since the stream may deliver its message again.
REMEMBERED_DAYS = 60
TALLY_DAYS = 730
strays = StrayLog("risk_ledger_unreadable")

SCHEMA = """
CREATE TABLE IF NOT EXISTS statements (
    key TEXT PRIMARY KEY, statement_id TEXT NOT NULL, kind TEXT NOT NULL, as_of TEXT NOT NULL,
    next_due TEXT NOT NULL, last_due TEXT NOT NULL, line TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS statements_by_id ON statements (statement_id, last_due);
CREATE INDEX IF NOT EXISTS statements_by_day ON statements (as_of, kind);
CREATE INDEX IF NOT EXISTS statements_by_due ON statements (next_due) WHERE line IS NOT NULL;
CREATE TABLE IF NOT EXISTS tallies (
    kind TEXT NOT NULL, served_by TEXT NOT NULL, horizon_days INTEGER NOT NULL, bin TEXT NOT NULL,
    as_of TEXT NOT NULL, statements INTEGER NOT NULL, promised REAL NOT NULL, came_true INTEGER NOT NULL,
    squared_error REAL NOT NULL, exceeded INTEGER NOT NULL, loss_over_shortfall REAL NOT NULL,
    PRIMARY KEY (kind, served_by, horizon_days, bin, as_of)
) WITHOUT ROWID;
"""
ADD = """
INSERT INTO tallies VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    statements = statements + 1, promised = promised + excluded.promised,
    came_true = came_true + excluded.came_true, squared_error = squared_error + excluded.squared_error,
    exceeded = exceeded + excluded.exceeded,
    loss_over_shortfall = loss_over_shortfall + excluded.loss_over_shortfall
"""


@dataclass(frozen=True, slots=True)
class OpenStatement:
    """A statement, and the next of its days to score."""

    key: str
    next_due: dt.date
    statement: RiskStatement


@dataclass(frozen=True, slots=True)
class ScoredDays:
    """The outcomes of one statement, and its next day to score; None if all days are scored."""

    scored: OpenStatement
    outcomes: tuple[Outcome, ...]
    next_due: dt.date | None


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over the scored statements of one kind, model, horizon, bin and day.

    `bin` is the number of a tenth, or a level in percent.
    """

    kind: str
    served_by: str
    horizon_days: int
    bin: str
    as_of: str
    statements: int
    promised: float
    came_true: int
    squared_error: float
    exceeded: int
    loss_over_shortfall: float


@dataclass(frozen=True, slots=True)
class Added:
    """Number of new statements, and of those that were dropped because their day is full."""

    stored: int
    dropped: int


class RiskStore:
    """The SQLite file. Its methods block, so call them in a thread. Each method is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, statements: Iterable[RiskStatement]) -> Added:
        """Store the statements that are not stored yet."""
        stored = dropped = 0
        with self._transaction() as database:
            counts: Counter[tuple[str, str]] = Counter()
            for whole in statements:
                statement = _unknown_part(database, whole)
                if statement is None:
                    continue
                touch = isinstance(statement, TouchStatement)
                day = statement.as_of, "touch" if touch else "losses"
                if day not in counts:
                    counts[day] = _count(database, day)
                if counts[day] >= (MAX_TOUCHES_A_DAY if touch else MAX_PORTFOLIOS_A_DAY):
                    dropped += 1
                    continue
                database.execute(
                    "INSERT INTO statements VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        f"{statement.statement_id}:{first_due(statement)}",
                        statement.statement_id,
                        day[1],
                        statement.as_of,
                        first_due(statement).isoformat(),
                        last_due(statement).isoformat(),
                        statement.to_json(),
                    ),
                )
                stored += 1
                counts[day] += 1
        return Added(stored, dropped)

    def due(self, newest: dt.date) -> list[OpenStatement]:
        """Return the statements with a day to score up to the newest closed day."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT key, next_due, line FROM statements "
                "WHERE line IS NOT NULL AND next_due <= ? ORDER BY next_due, key",
                (newest.isoformat(),),
            ).fetchall()
        return [
            OpenStatement(key, dt.date.fromisoformat(due), statement)
            for key, due, line in rows
            if (statement := self._parsed(line)) is not None
        ]

    def close(self, scored: Sequence[ScoredDays], newest: dt.date) -> None:
        """Add outcomes to the tallies, set the next days of the statements, and delete old rows.

        Args:
            scored: Statements with their new outcomes.
            newest: The newest closed day, from which the age of rows is counted.
        """
        with self._transaction() as database:
            for one in scored:
                for outcome in one.outcomes:
                    database.execute(ADD, _tally_row(one.scored.statement, outcome))
                if one.next_due is None:
                    database.execute("UPDATE statements SET line = NULL WHERE key = ?", (one.scored.key,))
                else:
                    moved = one.next_due.isoformat(), one.scored.key
                    database.execute("UPDATE statements SET next_due = ? WHERE key = ?", moved)
            oldest_due = (newest - dt.timedelta(days=REMEMBERED_DAYS)).isoformat()
            database.execute("DELETE FROM statements WHERE last_due < ?", (oldest_due,))
            oldest = (newest - dt.timedelta(days=TALLY_DAYS)).isoformat()
            database.execute("DELETE FROM tallies WHERE as_of < ?", (oldest,))

    def open_coins(self) -> list[str]:
        """Return the coins of the open statements, sorted."""
        with self._transaction() as database:
            lines = database.execute("SELECT line FROM statements WHERE line IS NOT NULL").fetchall()
        coins: set[str] = set()
        for (line,) in lines:
            if (statement := self._parsed(line)) is not None:
                coins.update(coins_of([statement]))
        return sorted(coins)

    def tallies(self, first: dt.date) -> list[Tally]:
        """Return the tallies of statements made on a day or later, in order."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT * FROM tallies WHERE as_of >= ? ORDER BY kind, served_by, horizon_days, bin, as_of",
                (first.isoformat(),),
            ).fetchall()
        return [Tally(*row) for row in rows]

    def counts(self) -> tuple[int, int]:
        """Return the number of open statements, and of scored probabilities."""
        with self._transaction() as database:
            waiting = database.execute("SELECT COUNT(*) FROM statements WHERE line IS NOT NULL").fetchone()[0]
            scored = database.execute("SELECT COALESCE(SUM(statements), 0) FROM tallies").fetchone()[0]
        return int(waiting), int(scored)

    def _parsed(self, line: object) -> RiskStatement | None:
        """Return a stored statement; None, and named once, if it cannot be read."""
        try:
            return read_statement(line if isinstance(line, str | bytes) else "")
        except (ValueError, KeyError, TypeError) as error:
            strays.name(self._path, f"a statement in it cannot be read ({type(error).__name__})")
            return None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Open or create the file; commit at the end of the block, or roll back after an error.

        A file that is no database is renamed for inspection, and a new one is begun.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            database = self._opened()
            try:
                with database:
                    yield database
            finally:
                database.close()
        except sqlite3.Error as error:
            raise OSError(f"{self._path.name} cannot be used: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._path.exists() and not self._path.is_file():
            strays.name(self._path, "it is not a file")
            set_aside(self._path)
        try:
            return _connect(self._path)
        except sqlite3.OperationalError:  # The file is locked, or the disk is full.
            raise
        except sqlite3.DatabaseError as error:
            strays.name(self._path, str(error))
            if not set_aside(self._path):
                raise
            return _connect(self._path)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10)
    try:
        # Deleted rows are overwritten, so that no portfolio remains in a free page of the file.
        database.execute("PRAGMA secure_delete = ON")
        database.executescript(SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _unknown_part(database: sqlite3.Connection, statement: RiskStatement) -> RiskStatement | None:
    """Return the part of a statement that is not stored yet; None if all of it is stored.

    If a request is repeated for more days, its statement has the same id, and only the later days are added.
    """
    found = database.execute(
        "SELECT MAX(last_due) FROM statements WHERE statement_id = ?", (statement.statement_id,)
    ).fetchone()[0]
    if found is None:
        return statement
    if not isinstance(statement, TouchStatement):
        return None
    known = (dt.date.fromisoformat(found) - first_due(statement)).days + 1
    if known <= 0:
        return statement
    if known >= len(statement.touch):
        return None
    return replace(
        statement,
        first_day=statement.first_day + known,
        touch=statement.touch[known:],
        close_beyond=statement.close_beyond[known:],
    )


def _count(database: sqlite3.Connection, day: tuple[str, str]) -> int:
    found = database.execute("SELECT COUNT(*) FROM statements WHERE as_of = ? AND kind = ?", day).fetchone()
    return int(found[0])


def _tally_row(statement: RiskStatement, outcome: Outcome) -> tuple[object, ...]:
    is_loss = outcome.kind == EXCEEDANCE
    of_bin = f"{outcome.level_percent:g}" if is_loss else str(tenth_of(outcome.promised))
    ratio = outcome.loss_over_shortfall
    return (
        outcome.kind,
        statement.served_by,
        outcome.horizon_days,
        of_bin,
        statement.as_of,
        outcome.promised,
        int(outcome.came_true),
        (outcome.promised - outcome.came_true) ** 2,
        int(ratio is not None),
        ratio or 0.0,
    )
