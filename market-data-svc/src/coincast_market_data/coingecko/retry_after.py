"""Parse the Retry-After header: seconds, an HTTP date, absent or malformed."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

DEFAULT_RETRY_AFTER_SECONDS = 60.0
# Any value up to a month is obeyed; a larger one is a mistake, and the next reply will repeat it if not.
MAX_RETRY_AFTER_SECONDS = 31 * 86_400.0


def parse_retry_after(value: str | None, now: float) -> float:
    """Return seconds to wait from `now` (UNIX seconds, the upstream's clock). Absent or unreadable: 60."""
    if value is None or not value.strip():
        return DEFAULT_RETRY_AFTER_SECONDS
    seconds = _as_number(value)
    if seconds is None:
        seconds = _as_date(value, now)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return DEFAULT_RETRY_AFTER_SECONDS
    return min(seconds, MAX_RETRY_AFTER_SECONDS)


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
