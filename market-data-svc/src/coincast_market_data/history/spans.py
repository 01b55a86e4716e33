"""Spans between two moments, which take the place of a number of days. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data.domain import History
from coincast_market_data.history.candle_builder import DAY_SECONDS, day_of, last_closed_day, midnight

MAX_DAYS = 10_000


@dataclass(frozen=True, slots=True)
class Span:
    """First and last moment at which a candle may start, inclusive, in UNIX seconds; None leaves a side open.

    Raises:
        InvalidInput: The last moment lies before the first.
    """

    first: float | None = None
    last: float | None = None

    def __post_init__(self) -> None:
        if self.first is not None and self.last is not None and self.last < self.first:
            raise InvalidInput("to_time must not lie before from_time", field="to_time")

    def days_back(self, days: int, moment: float, *, hourly: bool) -> int:
        """Return how many days a history must reach back to hold the span.

        Args:
            days: The requested number of days, which counts back from the last moment of the span where the
                span has no first one.
            moment: The moment from which a history of days counts back, UNIX seconds.
            hourly: Whether it is a history of hours, which counts back from the last hour of the span.
        """
        end = moment if self.last is None else min(self.last, moment)
        if self.first is not None:
            back = ceil(((end if hourly else moment) - self.first) / DAY_SECONDS) + 1
        elif self.last is not None and not hourly:
            back = days + max(0, (last_closed_day(moment) - day_of(end)).days)
        else:
            return days
        return max(1, min(MAX_DAYS, back))

    def cut(self, history: History) -> History:
        """Return a history with the candles that start within the span.

        Raises:
            NotFound: None does.
        """
        if self.first is None and self.last is None:
            return history
        first = float("-inf") if self.first is None else self.first
        last = float("inf") if self.last is None else self.last
        hours = history.hours and [c for c in history.hours if first <= c.start <= last]
        candles = [c for c in history.candles if first <= midnight(c.day) <= last]
        if not candles and not hours:
            raise NotFound(
                f"{history.id} has no candle in {history.vs_currency} in that span", field="from_time"
            )
        missing = [day for day in history.missing_days if first <= midnight(day) <= last]
        return replace(history, candles=candles, hours=hours, missing_days=missing)
