"""Plans the upstream calls that fetch missing days. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from coincast_market_data.history.utc_days import ONE_DAY, midnight

# `market_chart` gives hourly points up to 90 days; two less leave room for both ends.
HOURLY_DAYS = 88
# The point that closes the last day may come a little after its midnight.
PAST_MIDNIGHT_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Call:
    """One call for a span of days, both included, as a path below the coin and its parameters."""

    first: date
    last: date
    path: str
    query: tuple[tuple[str, str], ...]


def plan_calls(missing: Sequence[date], today: date, currency: str, *, hourly: bool) -> list[Call]:
    """Plan the calls that cover `missing` (sorted), newest first.

    With `hourly` they are spans that give whole candles, otherwise one call.

    Args:
        missing: Missing days, sorted.
        today: The current UTC day.
        currency: Canonical code.
        hourly: Whether long spans are fetched in pieces with hourly points.
    """
    if not missing:
        return []
    back = (today - missing[0]).days
    if back <= HOURLY_DAYS or not hourly:
        return [_back_from_now(missing, back, currency)]
    return span_calls(missing, currency)


def span_calls(days: Sequence[date], currency: str) -> list[Call]:
    """Return calls that give hourly points of `days` (sorted), newest first.

    Args:
        days: Days, sorted.
        currency: Canonical code.
    """
    return [_span(first, last, currency) for first, last in spans(days)]


def spans(days: Sequence[date]) -> list[tuple[date, date]]:
    """Return (first, last) of spans that cover the days, newest first, each with hourly points."""
    found: list[tuple[date, date]] = []
    last = first = None
    for day in reversed(days):
        if last is None or (last - day).days >= HOURLY_DAYS:
            if last is not None and first is not None:
                found.append((first, last))
            last = day
        first = day
    if last is not None and first is not None:
        found.append((first, last))
    return found


def _back_from_now(missing: Sequence[date], back: int, currency: str) -> Call:
    # One day more than needed: its midnight point opens the first candle.
    query = (("vs_currency", currency), ("days", str(back + 1)), ("precision", "full"))
    return Call(missing[0], missing[-1], "market_chart", query)


def _span(first: date, last: date, currency: str) -> Call:
    query = (
        ("vs_currency", currency),
        ("from", str(int(midnight(first)))),
        ("to", str(int(midnight(last + ONE_DAY)) + PAST_MIDNIGHT_SECONDS)),
        ("precision", "full"),
    )
    return Call(first, last, "market_chart/range", query)


def reachable(first: date, today: date, reach_days: int) -> date:
    """Return the earliest day not before `first` that the plan gives.

    Args:
        first: The earliest day that is needed.
        today: The current UTC day.
        reach_days: How far back the plan gives data.
    """
    return max(first, today - timedelta(days=reach_days - 1))
