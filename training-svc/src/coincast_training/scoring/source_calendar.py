"""Calendar of the candle source, which for replayed data differs from the machine's clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from coincast_chassis.clock import Clock
from coincast_modelkit.features import REFERENCE_COINS
from coincast_training.ports import HistorySource
from coincast_training.scoring.store import LedgerStore

# Reaches the last candle of a source that gave none for months; every plan allows a year.
REACH_DAYS = 365
MAX_IDS = 250


class SourceCalendar:
    """Newest closed day of the source, requested once a cycle and cached in between."""

    def __init__(self, history: HistorySource, store: LedgerStore, clock: Clock) -> None:
        self._history, self._store, self._clock = history, store, clock
        self._newest: dt.date | None = None

    async def ask(self, coins: Sequence[str]) -> dt.date | None:
        """Request the newest closed day of the reference coins, or of the given coins without those.

        Returns:
            The day, or None if the source has neither.

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
        """Return the latest reply of the source.

        Before the first reply it is the newest day with a score, since the source has reached that day, or
        else yesterday by the machine's clock.
        """
        return self._newest or self._store.newest_scored() or self.yesterday()

    def yesterday(self) -> dt.date:
        """Return yesterday by the machine's clock."""
        return dt.datetime.fromtimestamp(self._clock.now(), dt.UTC).date() - dt.timedelta(days=1)

    def first_day(self, days: int) -> dt.date:
        """Return the first of the last `days` closed days."""
        return self.newest() - dt.timedelta(days=days - 1)


def _date(day: np.datetime64) -> dt.date:
    return dt.date.fromisoformat(str(day.astype("datetime64[D]")))
