"""Which spot prices are believed, wherever they come from: quotes, market rows, documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Protocol

from coincast_chassis.clock import Clock
from coincast_market_data.coingecko.parser import Pair
from coincast_market_data.history.utc_days import DAY_SECONDS, midnight
from coincast_market_data.ports import DataClock
from coincast_market_data.prices.fetcher import QuoteCache, quote_key
from coincast_market_data.validation.outliers import MEMORY_SECONDS, OutlierDetector

# A close says what is plausible for longer than a spot price: without it a new process would believe whatever
# comes first. Where it is wrong, as a coin did rise tenfold meanwhile, two minutes of fetches say so.
CLOSE_SECONDS = 30 * DAY_SECONDS


class Closes(Protocol):
    """The archive's side that this needs."""

    async def last_closes(self, pairs: Iterable[Pair]) -> Mapping[Pair, tuple[date, float]]:
        """The newest day that is kept and its close, of those pairs that are kept."""
        ...


class PlausibilityChecker:
    """One guard against jumps for all; what it does not know it learns from the cache and the archive."""

    def __init__(
        self, guard: OutlierDetector, cache: QuoteCache, closes: Closes, clock: Clock, data_clock: DataClock
    ) -> None:
        self._guard = guard
        self._cache = cache
        self._closes = closes
        self._clock = clock
        self._data_clock = data_clock

    async def prepare(self, pairs: Iterable[Pair]) -> None:
        """Look up what these pairs cost last; to be done before they are judged."""
        now = self._clock.now()
        unknown = [pair for pair in pairs if not self._guard.knows(pair, now)]
        bare: Sequence[Pair] = [pair for pair in unknown if not self._from_cache(pair, now)]
        for pair, (day, close) in (await self._closes.last_closes(bare) if bare else {}).items():
            age = self._data_clock.now() - midnight(day) - DAY_SECONDS
            # Another fetch may have learnt more while the archive was read.
            if not self._guard.knows(pair, now):
                self._guard.seed(pair, close, now + CLOSE_SECONDS - age)

    def plausible(self, pair: Pair, price: float) -> bool:
        """Whether the price may be served and kept."""
        return self._guard.plausible(pair, price, self._clock.now())

    def last_price(self, pair: Pair) -> float | None:
        """Return the newest believed price of a pair; None where none is cached."""
        entry = self._cache.peek(quote_key(pair))
        return entry.value.price if entry is not None and entry.value is not None else None

    def _from_cache(self, pair: Pair, now: float) -> bool:
        entry = self._cache.peek(quote_key(pair))
        if entry is None or entry.value is None or now - entry.stored_at >= MEMORY_SECONDS:
            return False
        self._guard.seed(pair, entry.value.price, entry.stored_at + MEMORY_SECONDS)
        return True
