"""The ages in a response body: where they stand, and the body with its ages at a later moment.

A cached body says `age_seconds` as of its rendering. Sent again after 20 s it would pass old data off as new,
so the ages are computed again at the moment of sending.
"""

from __future__ import annotations

import csv
import io
import re

FIELD = "age_seconds"
JSON, CSV = "application/json", "text/csv"
# Quotes inside JSON strings are escaped, so the pattern matches fields only.
_JSON_AGE = re.compile(rb'"age_seconds":(-?[0-9][0-9.eE+-]*)')
# Stands for an age while CSV is written; no text of a reply holds it.
_MARK = "\x00"
Found = tuple[list[bytes], list[float]]


class BodyAges:
    """A body split at its ages.

    Args:
        parts: The bytes around the ages: one part more than there are ages.
        ages: The ages in seconds, as of the rendering of the body.
    """

    def __init__(self, parts: list[bytes], ages: list[float]) -> None:
        self._parts = parts
        self._ages = ages

    @classmethod
    def find(cls, body: bytes, media_type: str | None) -> BodyAges | None:
        """Return the ages of a JSON or CSV body; None where it has none."""
        if FIELD.encode() not in body:
            return None
        kind = (media_type or "").partition(";")[0]
        found = _json_ages(body) if kind == JSON else _csv_ages(body) if kind == CSV else None
        return cls(*found) if found is not None and found[1] else None

    def at(self, seconds: float) -> bytes:
        """Return the body with every age grown by a number of seconds, to a tenth of a second."""
        pieces = [self._parts[0]]
        for age, part in zip(self._ages, self._parts[1:], strict=True):
            pieces += (b"%.1f" % (age + seconds), part)
        return b"".join(pieces)


def _json_ages(body: bytes) -> Found:
    parts, ages, start = [], [], 0
    for match in _JSON_AGE.finditer(body):
        parts.append(body[start : match.start(1)])
        ages.append(float(match[1]))
        start = match.end(1)
    return [*parts, body[start:]], ages


def _csv_ages(body: bytes) -> Found | None:
    text = body.decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if _MARK in text or FIELD not in rows[0]:
        return None
    column, ages = rows[0].index(FIELD), []
    for row in rows[1:]:
        if row[column]:
            ages.append(float(row[column]))
            row[column] = _MARK
    marked = io.StringIO()
    csv.writer(marked).writerows(rows)
    return [part.encode() for part in marked.getvalue().split(_MARK)], ages
