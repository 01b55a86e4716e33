"""Spans of a history between two moments; pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data.domain import History
from coincast_market_data.history.candle_builder import DAY_SECONDS, day_of, last_closed_day, midnight

MAX_DAYS = 10_000


@dataclass(frozen=True, slots=True)
class Span:
    """The first and last moment at which a candle may start.

    Args:
        first: UNIX seconds, inclusive; None means no limit.
        last: UNIX seconds, inclusive; None means no limit.

    Raises:
        InvalidInput: The last moment lies before the first.
    """

    first: float | None = None
    last: float | None = None

    def __post_init__(self) -> None:
        if self.first is not None and self.last is not None and self.last < self.first:
            raise InvalidInput("to_time must not lie before from_time", field="to_time")

    def days_back(self, days: int, moment: float, *, hourly: bool) -> int:
        """Return how many days back a history must reach to include the span.

        Args:
            days: The requested number of days, which applies if the span has no first moment. It counts back
                from the last moment of the span.
            moment: The end of the history, UNIX seconds, from which its days count back.
            hourly: Whether it is a history of hours, whose days count back from the last moment of the span.
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
        """Return a history with only the candles that start within the span.

        Raises:
            NotFound: No candle starts within the span.
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
