"""Arithmetic of closed UTC days. Pure functions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from coincast_market_data.domain import Candle

# CoinGecko has the last whole day from 00:35 UTC on.
SETTLING = timedelta(minutes=35)
ONE_DAY = timedelta(days=1)
DAY_SECONDS = 86_400


def last_closed_day(now: float) -> date:
    """Return the newest day whose candle is final. `now`: UNIX seconds on the upstream's clock."""
    return (datetime.fromtimestamp(now, UTC) - SETTLING).date() - ONE_DAY


def midnight(day: date) -> float:
    """Return the UNIX seconds at which the day begins."""
    return datetime.combine(day, time(), UTC).timestamp()


def day_of(moment: float) -> date:
    """Return the UTC day of a moment in UNIX seconds."""
    return datetime.fromtimestamp(moment, UTC).date()


def within(candles: Sequence[Candle], first: date, last: date) -> Sequence[Candle]:
    """Return the candles from first to last; `candles` are in order of days, one a day."""
    start = bisect_left(candles, first, key=_day)
    return candles[start : bisect_right(candles, last, key=_day)]


def gaps(candles: Sequence[Candle], first: date, last: date) -> list[date]:
    """Return the days from first to last that none of the candles (all within) has."""
    if len(candles) == (last - first).days + 1:
        return []
    have = {candle.day for candle in candles}
    return [day for day in days_between(first, last) if day not in have]


def _day(candle: Candle) -> date:
    return candle.day


def days_between(first: date, last: date) -> list[date]:
    """Return every day from first to last, both included; none where last is before first."""
    return [first + timedelta(days=step) for step in range((last - first).days + 1)]
