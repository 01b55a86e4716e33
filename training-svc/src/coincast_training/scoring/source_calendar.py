"""The calendar of the candle source; for replayed data it differs from the clock of the machine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from coincast_chassis.clock import Clock
from coincast_modelkit.features import REFERENCE_COINS
from coincast_training.ports import HistorySource
from coincast_training.scoring.store import LedgerStore

# A request over a year finds the last candle even if the source gave none for months. Every plan allows a
# year.
REACH_DAYS = 365
MAX_IDS = 250


class SourceCalendar:
    """The newest closed day of the source, requested once in each scoring cycle and cached in between."""

    def __init__(self, history: HistorySource, store: LedgerStore, clock: Clock) -> None:
        self._history, self._store, self._clock = history, store, clock
        self._newest: dt.date | None = None

    async def ask(self, coins: Sequence[str]) -> dt.date | None:
        """Request the newest closed day of the reference coins, or else of the given coins.

        Returns:
            The day; None if the source has candles of neither.

        Raises:
            Unavailable: The source does not answer.
        """
        newest = await self._newest_of(REFERENCE_COINS) or await self._newest_of(coins[:MAX_IDS])
        self._newest = newest or self._newest
        return newest

    async def _newest_of(self, coins: Sequence[str]) -> dt.date | None:
        panel = (await self._history.fetch(coins, REACH_DAYS)).panel if coins else {}
        newest = max((candles.dates[-1] for candles in panel.values() if len(candles)), default=None)
        return None if newest is None else _date(newest)

    def newest(self) -> dt.date:
        """Return the newest closed day by the latest reply of the source.

        Before the first reply it is the newest day with a score, since the source had that day, or else
        yesterday by the clock of the machine.
        """
        return self._newest or self._store.newest_scored() or self.yesterday()

    def yesterday(self) -> dt.date:
        """Return yesterday by the clock of the machine."""
        return dt.datetime.fromtimestamp(self._clock.now(), dt.UTC).date() - dt.timedelta(days=1)

    def first_day(self, days: int) -> dt.date:
        """Return the first of the last `days` closed days."""
        return self.newest() - dt.timedelta(days=days - 1)


def _date(day: np.datetime64) -> dt.date:
    return dt.date.fromisoformat(str(day.astype("datetime64[D]")))
