"""Reads Retry-After in every form that is met: seconds, a date, nothing, or nonsense."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

ABSENT_SECONDS = 60.0
# Obeyed whatever its size; beyond a month it is a slip, and the next reply will say so again.
LONGEST_SECONDS = 31 * 86_400.0


def parse_retry_after(value: str | None, now: float) -> float:
    """Seconds to wait from `now` (UNIX seconds, the upstream's clock). Absent or unreadable: 60."""
    if value is None or not value.strip():
        return ABSENT_SECONDS
    seconds = _as_number(value)
    if seconds is None:
        seconds = _as_date(value, now)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ABSENT_SECONDS
    return min(seconds, LONGEST_SECONDS)


def _as_number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _as_date(value: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None
