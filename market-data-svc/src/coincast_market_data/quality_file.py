"""The record of bad data as a JSON file, replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson
import structlog

from coincast_market_data.archive.files import replace_file
from coincast_market_data.domain import Quality

Key = tuple[str, str]
log = structlog.get_logger(__name__)


def read_reports(path: Path) -> dict[Key, Quality]:
    """Reports in the order of their newest finding; none where there is no file, or none that can be read."""
    try:
        rows = orjson.loads(path.read_bytes())
        found = [_report(row) for row in rows]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        # A record of faults is not worth a fault: it begins anew.
        log.warning(
            "the record of bad data cannot be read and begins anew", path=str(path), reason=str(error)
        )
        return {}
    return {(report.id, report.vs_currency): report for report in found}


def write_reports(path: Path, reports: Mapping[Key, Quality]) -> None:
    """Replace the file. Raises OSError."""
    rows = [
        [r.id, r.vs_currency, r.duplicate_points, r.quarantined_points, r.notes] for r in reports.values()
    ]
    body = orjson.dumps(rows)
    replace_file(path, lambda file: file.write(body))


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
