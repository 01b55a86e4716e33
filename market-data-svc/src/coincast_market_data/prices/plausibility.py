"""Check the plausibility of spot prices from all sources: quotes, market rows, documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Protocol

from cachetools import TTLCache

from coincast_chassis.clock import Clock
from coincast_market_data.coingecko.parser import Pair
from coincast_market_data.history.utc_days import DAY_SECONDS, midnight
from coincast_market_data.ports import DataClock
from coincast_market_data.prices.fetcher import QuoteCache, quote_key
from coincast_market_data.validation.outliers import MEMORY_SECONDS, OutlierDetector, ratio, spot_factor

# A stored close is a reference for longer than a spot price: without it a new process would accept any first
# price. If the coin did rise tenfold meanwhile, two minutes of fetches confirm the new price.
CLOSE_SECONDS = 30 * DAY_SECONDS
# How long the newest archived close of a pair is cached.
CLOSES_SECONDS = 600.0
MAX_CLOSES = 50_000


class Closes(Protocol):
    """The part of the archive that the checker uses."""

    async def last_closes(self, pairs: Iterable[Pair]) -> Mapping[Pair, tuple[date, float]]:
        """Return the newest stored day and its close for those pairs that are stored."""
        ...


class PlausibilityChecker:
    """Rejects jumps for all readers; the last good prices come from the cache and the archive."""

    def __init__(
        self, guard: OutlierDetector, cache: QuoteCache, closes: Closes, clock: Clock, data_clock: DataClock
    ) -> None:
        self._guard = guard
        self._cache = cache
        self._closes = closes
        self._clock = clock
        self._data_clock = data_clock
        self._known_closes: TTLCache[Pair, tuple[date, float] | None] = TTLCache(
            MAX_CLOSES, CLOSES_SECONDS, timer=clock.monotonic
        )

    async def prepare(self, pairs: Iterable[Pair]) -> None:
        """Load the last prices of these pairs; call it before `plausible`."""
        wanted = list(pairs)
        unread = [pair for pair in wanted if pair not in self._known_closes]
        if unread:
            closes = await self._closes.last_closes(unread)
            self._known_closes.update({pair: closes.get(pair) for pair in unread})
        now = self._clock.monotonic()
        for pair in wanted:
            if self._guard.last_good(pair, now) is None and not self._from_cache(pair, now):
                self._from_archive(pair, now)

    def plausible(self, pair: Pair, price: float) -> bool:
        """Return whether a spot price may be served and cached.

        A price that returns after a false one is accepted at once if the archive agrees with it and not
        with the last good price.

        Args:
            pair: Coin and currency.
            price: The new price, positive.
        """
        now = self._clock.monotonic()
        if self._guard.plausible(pair, price, now, spot=True):
            return True
        last = self._guard.last_good(pair, now)
        if last is None or not self._fits_archive(pair, price) or self._fits_archive(pair, last):
            # The archive may be repaired before the next check.
            self._known_closes.pop(pair, None)
            return False
        self._guard.accept(pair, price, now)
        return True

    def plausible_supply(self, pair: Pair, coins: float) -> bool:
        """Return whether a supply may be true, as a market cap and a price imply it."""
        name = (pair[0], f"supply in {pair[1]}")
        return self._guard.plausible(name, coins, self._clock.monotonic())

    def last_price(self, pair: Pair) -> float | None:
        """Return the newest accepted price of a pair, or None if none is cached."""
        entry = self._cache.peek(quote_key(pair))
        return entry.value.price if entry is not None and entry.value is not None else None

    def _from_cache(self, pair: Pair, now: float) -> bool:
        entry = self._cache.peek(quote_key(pair))
        if entry is None or entry.value is None:
            return False
        seen_at = now - max(0.0, self._cache.age(entry))
        if now - seen_at >= MEMORY_SECONDS:
            return False
        self._guard.seed(pair, entry.value.price, seen_at=seen_at, until=seen_at + MEMORY_SECONDS)
        return True

    def _from_archive(self, pair: Pair, now: float) -> None:
        found = self._known_closes.get(pair)
        if found is not None:
            seen_at = now - self._close_age(found[0])
            self._guard.seed(pair, found[1], seen_at=seen_at, until=seen_at + CLOSE_SECONDS)

    def _fits_archive(self, pair: Pair, price: float) -> bool:
        found = self._known_closes.get(pair)
        if found is None:
            return False
        age = self._close_age(found[0])
        return age < CLOSE_SECONDS and ratio(price, found[1]) < spot_factor(max(age, 0.0))

    def _close_age(self, day: date) -> float:
        return self._data_clock.now() - midnight(day) - DAY_SECONDS
