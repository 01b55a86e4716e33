"""Data faults found in each coin and currency, stored on disk for all replicas and restarts."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import orjson
import structlog
from cachetools import LRUCache

from coincast_chassis.durable_files import replace_file
from coincast_market_data.domain import Quality

MAX_NOTES = 20
MAX_COINS = 5000
log = structlog.get_logger(__name__)


class QualityLog:
    """Totals as last stored, and findings since; bounded, the coins of the newest findings stay.

    Without a `path` all is forgotten at the end. Every replica adds what it found to the one file, under a
    lock.
    """

    def __init__(self, path: Path | None = None, *, max_coins: int = MAX_COINS) -> None:
        self._path = path
        self._max_coins = max_coins
        self._kept: dict[Key, Quality] = {}
        self._new: LRUCache[Key, Quality] = LRUCache(max_coins)

    def open(self) -> None:
        """Read what was found before this start."""
        if self._path is not None:
            self._kept = read_quality_file(self._path)

    def of(self, coin: str, currency: str) -> Quality:
        """Return the report of one coin in one currency; an empty one where nothing is known."""
        key = (coin, currency)
        kept, new = self._kept.get(key), self._new.get(key)
        if kept is None or new is None:
            found = kept or new or Quality(coin, currency)
            return replace(found, notes=list(found.notes))
        return added(kept, new)

    def currencies(self, coin: str) -> set[str]:
        """Return the currencies in which a fault was found with a coin."""
        return {currency for name, currency in [*self._kept, *self._new] if name == coin}

    def note(self, coin: str, currency: str, text: str, *, points: int = 1, day: date | None = None) -> None:
        """Count quarantined points and say why, newest first.

        Args:
            coin: Canonical id.
            currency: Canonical code.
            text: What was found, in words.
            points: Number of quarantined points.
            day: The day concerned, if there is one.
        """
        report = self._report(coin, currency)
        report.quarantined_points += points
        line = f"{text} on {day.isoformat()}" if day else text
        if line not in report.notes[:1]:
            report.notes.insert(0, line)
        del report.notes[MAX_NOTES:]

    def duplicates(self, coin: str, currency: str, points: int) -> None:
        """Count points that came more than once."""
        if points:
            self._report(coin, currency).duplicate_points += points

    def remark(self, coin: str, currency: str, text: str) -> None:
        """Record what was odd and corrected, with nothing quarantined."""
        self.note(coin, currency, text, points=0)

    def _report(self, coin: str, currency: str) -> Quality:
        # Set again, so that the items are in the order of the newest finding: the file keeps the last ones.
        report = self._new.pop((coin, currency), None) or Quality(coin, currency)
        self._new[coin, currency] = report
        return report

    async def save(self) -> None:
        """Add new findings to the file; what cannot be written is retried the next time."""
        if self._path is None or not self._new:
            return
        new, self._new = dict(self._new.items()), LRUCache(self._max_coins)
        try:
            self._kept = await asyncio.to_thread(merge_into_file, self._path, new, self._max_coins)
        except OSError as error:
            log.warning("quality_log_not_written", reason=str(error))
            for key, later in self._new.items():
                before = new.pop(key, None)
                new[key] = added(before, later) if before else later
            self._new = LRUCache(self._max_coins)
            for key, found in new.items():
                self._new[key] = found


def merge_into_file(path: Path, new: Mapping[Key, Quality], max_coins: int) -> dict[Key, Quality]:
    """Return the totals of all replicas after the new findings are added; blocks, for a thread."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        totals = read_quality_file(path)
        for key, found in new.items():
            before = totals.pop(key, None)
            totals[key] = added(before, found) if before else found
        kept = dict(list(totals.items())[-max_coins:])
        write_quality_file(path, kept)
    return kept


def added(before: Quality, later: Quality) -> Quality:
    """Add both findings of one coin."""
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
    """Read reports in the order of their newest finding; none where there is no file, or no readable one."""
    try:
        rows = orjson.loads(path.read_bytes())
        found = [_report(row) for row in rows]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        # An unreadable log must not stop the service: it starts empty.
        log.warning("quality_log_unreadable", path=str(path), reason=str(error))
        return {}
    return {(report.id, report.vs_currency): report for report in found}


def write_quality_file(path: Path, reports: Mapping[Key, Quality]) -> None:
    """Replace the file. Raises OSError."""
    rows = [
        [r.id, r.vs_currency, r.duplicate_points, r.quarantined_points, r.notes] for r in reports.values()
    ]
    body = orjson.dumps(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, body)


def _report(row: list[object]) -> Quality:
    coin, currency, duplicates, quarantined, notes = row
    if not isinstance(duplicates, int) or not isinstance(quarantined, int) or not isinstance(notes, list):
        raise TypeError("not a report")
    return Quality(
        str(coin),
        str(currency),
        duplicate_points=duplicates,
        quarantined_points=quarantined,
        notes=[str(note) for note in notes],
    )
