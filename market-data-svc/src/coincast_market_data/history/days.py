"""Which UTC day is closed. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

# CoinGecko has the last whole day from 00:35 UTC on.
SETTLING = timedelta(minutes=35)
ONE_DAY = timedelta(days=1)
DAY_SECONDS = 86_400


def last_closed_day(now: float) -> date:
    """The newest day whose candle is final. `now`: UNIX seconds on the upstream's clock."""
    return (datetime.fromtimestamp(now, UTC) - SETTLING).date() - ONE_DAY


def midnight(day: date) -> float:
    """UNIX seconds at which the day begins."""
    return datetime.combine(day, time(), UTC).timestamp()


def day_of(moment: float) -> date:
    """The UTC day of a moment in UNIX seconds."""
    return datetime.fromtimestamp(moment, UTC).date()


def days_between(first: date, last: date) -> list[date]:
    """Every day from first to last, both included; none where last is before first."""
    return [first + timedelta(days=step) for step in range((last - first).days + 1)]
