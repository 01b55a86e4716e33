"""Terms of a day's hours for daily models that use them, fetched in the background.

A forecast never waits for hours: until they arrive it is made without them, as for a coin that has none. They
are fetched from market-data up to the daily close, so that no call is spent on later hours, and only for
forecasts of models that use them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

import numpy as np

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast.domain import HourlyHistory, close_of
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyPanel, source_of
from coincast_modelkit.hourly.day_measures import DayRow, MarketMeasures, market_of_hours, newest_row

log = get_logger("coincast.forecast.hours")

Key = tuple[str, str, date]

KEPT_COINS = 1000
# Coins per fetch. Larger batches fetch the reference coins less often, but need more memory.
BATCH_COINS = 25
# Missing hours of a coin's newest day are requested again after this time.
RETRY_SECONDS = 600.0


class HoursSource(Protocol):
    """Source of hourly histories."""

    async def until(
        self, ids: Sequence[str], vs_currency: str, moment: datetime
    ) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's history of the hours that end by a time, or its error."""
        ...


class DayHours:
    """Terms of the hours (rows) by coin, currency and closed day."""

    def __init__(
        self,
        source: HoursSource,
        clock: Clock,
        *,
        on_rows: Callable[[], None] = lambda: None,
    ) -> None:
        """Store the collaborators.

        Args:
            source: Source of hourly histories.
            clock: Clock of the retries.
            on_rows: Called after missing rows have arrived.
        """
        self._source, self._clock, self._on_rows = source, clock, on_rows
        self._rows: Lru[Key, DayRow] = Lru(KEPT_COINS)
        self._waiting: dict[Key, None] = {}
        self._retry_at: Lru[Key, float] = Lru(KEPT_COINS)
        self._markets: tuple[tuple[str, date], dict[str, MarketMeasures]] | None = None
        self._called = asyncio.Event()

    def row(self, candles: Candles, vs_currency: str) -> DayRow | None:
        """Return the row of a coin's newest day; if it is missing, queue its fetch and return None."""
        key = (candles.coin_id, vs_currency, candles.as_of)
        row = self._rows.get(key)
        if row is None and self._clock.monotonic() >= (self._retry_at.get(key) or 0.0):
            self._waiting[key] = None
            self._called.set()
        return row

    async def work(self) -> None:
        """Fetch the queued rows in batches until cancelled."""
        while True:
            await self._called.wait()
            self._called.clear()
            while self._waiting:
                await self.fetch_batch()

    async def fetch_batch(self) -> None:
        """Fetch one batch of queued rows, all of one currency and day."""
        first = next(iter(self._waiting), None)
        if first is None:
            return
        _, vs_currency, day = first
        batch = [key for key in self._waiting if key[1:] == (vs_currency, day)][:BATCH_COINS]
        for key in batch:
            del self._waiting[key]
            self._retry_at.put(key, self._clock.monotonic() + RETRY_SECONDS)
        coins = [coin for coin, _, _ in batch]
        try:
            found = await self._source.until(
                list(dict.fromkeys((*coins, *REFERENCE_COINS))), vs_currency, close_of(day)
            )
        except CoincastError as error:
            log.warning("hours_not_fetched", coins=len(coins), reason=str(error))
            return
        panel = {
            coin: h.candles
            for coin, h in found.items()
            if isinstance(h, HourlyHistory) and not h.doubt_reason
        }
        rows = await asyncio.to_thread(self._compute, coins, panel, vs_currency, day)
        for coin, row in rows.items():
            self._rows.put((coin, vs_currency, day), row)
        if rows:
            self._on_rows()

    def _compute(
        self, coins: Sequence[str], panel: HourlyPanel, vs_currency: str, day: date
    ) -> dict[str, DayRow]:
        """Return the rows of the coins whose hours of the day are known."""
        if self._markets is None or self._markets[0] != (vs_currency, day):
            self._markets = (vs_currency, day), markets_of(panel)
        return day_rows(coins, panel, day, self._markets[1])


def markets_of(panel: HourlyPanel) -> dict[str, MarketMeasures]:
    """Return the market measures of the reference coins by source of hours: ranges or closes."""
    reference = {coin: panel[coin] for coin in REFERENCE_COINS if coin in panel}
    return {source: market_of_hours(reference, source) for source in (RANGES, CLOSES)}


def day_rows(
    coins: Sequence[str], panel: HourlyPanel, day: date, markets: Mapping[str, MarketMeasures]
) -> dict[str, DayRow]:
    """Return the rows of the coins whose hours of the day are known."""
    rows = {}
    for coin in coins:
        if coin in panel:
            source = source_of(panel[coin])
            row = newest_row(panel[coin], markets[source], source, np.datetime64(day, "D"))
            if row is not None:
                rows[coin] = row
    return rows
