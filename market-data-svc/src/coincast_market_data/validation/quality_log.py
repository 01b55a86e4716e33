"""Data-quality log: the defects found in each coin and currency, stored on disk for all replicas."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TypeGuard

import orjson
import structlog
from cachetools import LRUCache

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import StrayLog, read_plain_file
from coincast_market_data.domain import Quality
from coincast_modelkit.durable_files import replace_file

MAX_NOTES = 20
MAX_NOTE = 500
# The largest count that the contract can carry.
MAX_POINTS = 2**31 - 1
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_COINS = 5000
log = structlog.get_logger(__name__)
strays = StrayLog("quality_log_unreadable")


class QualityLog:
    """The defects of all coins: the stored totals of all replicas, and this replica's new findings.

    Every replica adds its findings to one file, under a lock.

    Args:
        path: The file; without it the log is not stored.
        max_coins: The most coins and currencies; those with the oldest findings are dropped.
    """

    def __init__(self, path: Path | None = None, *, max_coins: int = MAX_COINS) -> None:
        self._path = path
        self._max_coins = max_coins
        self._stored: dict[Key, Quality] = {}
        self._new: LRUCache[Key, Quality] = LRUCache(max_coins)

    def open(self) -> None:
        """Read the stored findings."""
        if self._path is not None:
            self._stored = read_quality_file(self._path)

    def of(self, coin: str, currency: str) -> Quality:
        """Return the report of one coin in one currency; an empty one without findings."""
        key = (coin, currency)
        stored, new = self._stored.get(key), self._new.get(key)
        if stored is None or new is None:
            found = stored or new or Quality(coin, currency)
            return replace(found, notes=list(found.notes))
        return add_findings(stored, new)

    def currencies(self, coin: str) -> set[str]:
        """Return the currencies in which a coin has findings."""
        return {currency for name, currency in [*self._stored, *self._new] if name == coin}

    def note(self, coin: str, currency: str, text: str, *, points: int = 1, day: date | None = None) -> None:
        """Count quarantined points, and add a note, newest first.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            text: The finding in words.
            points: The number of quarantined points.
            day: The day of the finding, if it is about one.
        """
        report = self._report(coin, currency)
        report.quarantined_points += points
        line = f"{text} on {day.isoformat()}" if day else text
        if line not in report.notes[:1]:
            report.notes.insert(0, line)
        del report.notes[MAX_NOTES:]

    def duplicates(self, coin: str, currency: str, points: int) -> None:
        """Count points that the source sent more than once."""
        self._report(coin, currency).duplicate_points += points

    def remark(self, coin: str, currency: str, text: str) -> None:
        """Add a note about a defect that was corrected, without quarantined points."""
        self.note(coin, currency, text, points=0)

    def _report(self, coin: str, currency: str) -> Quality:
        # The entry is removed and added again, so that the entries stay in the order of their newest finding.
        report = self._new.pop((coin, currency), None) or Quality(coin, currency)
        self._new[coin, currency] = report
        return report

    async def save(self) -> None:
        """Add the new findings to the file; if that fails, they are written the next time."""
        if self._path is None or not self._new:
            return
        new, self._new = dict(self._new.items()), LRUCache(self._max_coins)
        try:
            self._stored = await asyncio.to_thread(merge_into_file, self._path, new, self._max_coins)
        except OSError as error:
            log.warning("quality_log_not_written", reason=without_path(error))
            for key, later in self._new.items():
                before = new.pop(key, None)
                new[key] = add_findings(before, later) if before else later
            self._new = LRUCache(self._max_coins)
            for key, found in new.items():
                self._new[key] = found


def merge_into_file(path: Path, new: Mapping[Key, Quality], max_coins: int) -> dict[Key, Quality]:
    """Add findings to the file and return the totals of all replicas; it blocks, so run it in a thread.

    Args:
        path: The file.
        new: The findings of this replica since the last call.
        max_coins: The most coins and currencies in the file.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        totals = read_quality_file(path)
        for key, found in new.items():
            before = totals.pop(key, None)
            totals[key] = add_findings(before, found) if before else found
        newest = dict(list(totals.items())[-max_coins:])
        write_quality_file(path, newest)
    return newest


def add_findings(before: Quality, later: Quality) -> Quality:
    """Return the sum of two reports of one coin, with the notes of the later one first."""
    notes = list(dict.fromkeys([*later.notes, *before.notes]))[:MAX_NOTES]
    return Quality(
        before.id,
        before.vs_currency,
        duplicate_points=before.duplicate_points + later.duplicate_points,
        quarantined_points=before.quarantined_points + later.quarantined_points,
        notes=notes,
    )


Key = tuple[str, str]


def read_quality_file(path: Path) -> dict[Key, Quality]:
    """Read the reports, in the order of their newest finding; none if the file is missing or unreadable."""
    try:
        rows = orjson.loads(read_plain_file(path, max_bytes=MAX_FILE_BYTES))
        found = [_report(row) for row in rows]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        # An unreadable file must not stop the service, so the log starts empty.
        fault = without_path(error)
        strays.name(path, fault if isinstance(error, OSError) else f"it is no quality log: {fault}")
        return {}
    return {(report.id, report.vs_currency): report for report in found}


def write_quality_file(path: Path, reports: Mapping[Key, Quality]) -> None:
    """Replace the file.

    Raises:
        OSError: The file cannot be written.
    """
    rows = [
        [r.id, r.vs_currency, r.duplicate_points, r.quarantined_points, r.notes] for r in reports.values()
    ]
    body = orjson.dumps(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, body)


def _report(row: list[object]) -> Quality:
    coin, currency, duplicates, quarantined, notes = row
    if not (_is_count(duplicates) and _is_count(quarantined) and isinstance(notes, list)):
        raise TypeError("not a report")
    return Quality(
        str(coin),
        str(currency),
        duplicate_points=duplicates,
        quarantined_points=quarantined,
        notes=[str(note)[:MAX_NOTE] for note in notes[:MAX_NOTES]],
    )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_POINTS
