"""Detect implausible prices, and reject them until further fetches confirm them.

`OutlierDetector` has the rules. `PlausibilityChecker` applies them to the spot prices of all sources: quotes,
market rows and documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from cachetools import LRUCache, TTLCache

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_market_data.history.candle_builder import DAY_SECONDS, midnight
from coincast_market_data.identifiers import Pair, quote_key
from coincast_market_data.ports import DataClock
from coincast_market_data.prices.fetcher import QuoteCache

# A figure that differs from the last good one by this factor is an outlier.
JUMP_FACTOR = 10.0
# New prices are not compared with a spot price that is older than this.
MEMORY_SECONDS = 6 * 3600.0
# A tenfold move is confirmed if fetches agree within this factor for this long.
AGREEMENT_FACTOR = 2.0
CONFIRMED_AFTER_SECONDS = 120.0
# The factor by which a spot price may differ from the last good one without confirmation: (largest age of
# the last good price in seconds, factor).
SPOT_FACTORS = ((6 * 3600.0, 2.0), (2 * 86_400.0, 4.0))
# The same for a spot price beside the newest stored close. Few coins move by half within two days, and a true
# move waits for one further fetch only.
CLOSE_FACTORS = ((2 * 86_400.0, 1.5), (7 * 86_400.0, 3.0))
# A smaller move of a spot price needs one further fetch. It must be later than CoinGecko's caches repeat a
# reply, and must agree more closely than the fetches of a tenfold move.
SECOND_LOOK_SECONDS = 20.0
SECOND_LOOK_FACTOR = 1.25


def is_outlier(a: float, b: float) -> bool:
    """Return whether two positive figures differ at least tenfold."""
    return ratio(a, b) >= JUMP_FACTOR


def ratio(a: float, b: float) -> float:
    """Return the larger of two positive figures divided by the smaller one."""
    return a / b if a >= b else b / a


def spot_factor(age_seconds: float, *, of_close: bool = False) -> float:
    """Return the factor by which a spot price may differ from a good one without confirmation.

    Args:
        age_seconds: The age of the good price.
        of_close: Whether the good price is a stored close, not a spot price.
    """
    factors = CLOSE_FACTORS if of_close else SPOT_FACTORS
    return next((factor for oldest, factor in factors if age_seconds <= oldest), JUMP_FACTOR)


class ConfirmationTracker:
    """Tracks figures that wait for confirmation by later fetches; the least recently used are dropped."""

    def __init__(self, *, max_entries: int = 50_000) -> None:
        self._seen: LRUCache[Pair, tuple[float, float]] = LRUCache(max_entries)
        self._settled: LRUCache[Pair, float] = LRUCache(max_entries)

    def confirmed(
        self,
        pair: Pair,
        figure: float,
        now: float,
        *,
        after_seconds: float = CONFIRMED_AFTER_SECONDS,
        agreement: float = AGREEMENT_FACTOR,
    ) -> bool:
        """Return whether a figure is confirmed by earlier ones; otherwise store it.

        Args:
            pair: Identifies the figure, as coin and currency.
            figure: The figure, positive.
            now: Seconds on a clock that never goes back.
            after_seconds: The least time between the first and the confirming fetch.
            agreement: The largest factor between two figures that agree.
        """
        first, since = self._seen.pop(pair, (figure, now))
        if ratio(figure, first) > agreement:
            first, since = figure, now
        if now - since >= after_seconds:
            return True
        self._seen[pair] = (first, since)
        return False

    def settled(self, pair: Pair, figure: float, now: float) -> bool:
        """Return whether fetches confirm a figure now or confirmed it before; otherwise store it.

        For figures that every later fetch repeats, such as a price of the past.

        Args:
            pair: What the figure is of.
            figure: The figure, positive.
            now: Seconds on a clock that never goes back.
        """
        before = self._settled.get(pair)
        if before is not None and ratio(figure, before) <= AGREEMENT_FACTOR:
            return True
        if not self.confirmed(pair, figure, now):
            return False
        self._settled[pair] = figure
        return True

    def forget(self, pair: Pair) -> None:
        """Drop a figure that later fetches contradicted."""
        self._seen.pop(pair, None)
        self._settled.pop(pair, None)


@dataclass(frozen=True, slots=True)
class LastGood:
    """The last accepted figure, its time, and until when new figures are compared with it.

    `of_close` is set for a stored close, with which a first spot price is compared.
    """

    figure: float
    seen_at: float
    until: float
    of_close: bool = False

    def factor(self, now: float) -> float:
        """Return the factor by which a spot price may differ from it without confirmation."""
        return spot_factor(now - self.seen_at, of_close=self.of_close)


class OutlierDetector:
    """Rejects figures that differ too much from the last good one, until further fetches confirm them.

    A tenfold move needs fetches that agree over two minutes. A smaller move of a spot price, if it is too
    large for the age of the last good one, needs one further fetch. All times are seconds on a clock that
    never goes back.
    """

    def __init__(self, *, max_entries: int = 50_000) -> None:
        self._last: LRUCache[Pair, LastGood] = LRUCache(max_entries)
        self._suspects = ConfirmationTracker(max_entries=max_entries)

    def plausible(self, pair: Pair, price: float, now: float, *, spot: bool = False) -> bool:
        """Return whether a figure may be served, and store it for later checks.

        Args:
            pair: Identifies the figure, as coin and currency.
            price: The figure, positive.
            now: Seconds on a clock that never goes back.
            spot: Whether it is a spot price, of which smaller moves need confirmation as well.
        """
        before = self._last.get(pair)
        if before is not None and now < before.until:
            move = ratio(price, before.figure)
            allowed = before.factor(now) if spot else JUMP_FACTOR
            if move >= allowed and not self._confirmed(pair, price, now, tenfold=move >= JUMP_FACTOR):
                return False
        self.accept(pair, price, now)
        return True

    def _confirmed(self, pair: Pair, price: float, now: float, *, tenfold: bool) -> bool:
        if tenfold:
            return self._suspects.confirmed(pair, price, now)
        return self._suspects.confirmed(
            pair, price, now, after_seconds=SECOND_LOOK_SECONDS, agreement=SECOND_LOOK_FACTOR
        )

    def consistent(self, pair: Pair, price: float, now: float) -> bool:
        """Return whether a price could follow the last good one without a second look; nothing is stored."""
        before = self._last.get(pair)
        if before is None or now >= before.until:
            return True
        return ratio(price, before.figure) < before.factor(now)

    def last_good(self, pair: Pair, now: float) -> float | None:
        """Return the figure with which new ones are compared, or None."""
        found = self._last.get(pair)
        return found.figure if found is not None and now < found.until else None

    def accept(self, pair: Pair, price: float, now: float) -> None:
        """Accept a figure as the last good one, and drop a figure that waits for confirmation."""
        self._suspects.forget(pair)
        self.seed(pair, price, seen_at=now, until=now + MEMORY_SECONDS)

    def seed(self, pair: Pair, price: float, *, seen_at: float, until: float, of_close: bool = False) -> None:
        """Set the figure with which new ones are compared.

        Args:
            pair: Coin and currency.
            price: The figure.
            seen_at: The time of the figure, monotonic seconds.
            until: Until when new figures are compared with it, monotonic seconds.
            of_close: Whether it is a stored close.
        """
        self._last[pair] = LastGood(price, seen_at, until, of_close)


# New prices are compared with a stored close for longer than with a spot price, since a new process would
# otherwise accept any first price. If the coin did move tenfold meanwhile, two minutes of fetches confirm
# the new price.
CLOSE_SECONDS = 30 * DAY_SECONDS
# How long the newest archived close of a pair is cached.
CLOSES_SECONDS = 600.0
MAX_CLOSES = 50_000
# A coin with a stored close of this age is still traded, unless replies without it repeat.
KNOWN_SECONDS = 7 * DAY_SECONDS
# A price that contradicts an accepted one is true if the stored close speaks for it by this factor.
BETTER_FACTOR = 2.0
# A spot price older than this is fetched again before it decides whether the end of a series is true.
MAX_WITNESS_SECONDS = 600.0
# How long a series waits for that spot price.
WITNESS_PATIENCE_SECONDS = 2.0


class Closes(Protocol):
    """The archive, as far as the checker uses it."""

    async def last_closes(self, pairs: Iterable[Pair]) -> Mapping[Pair, tuple[date, float]]:
        """Return the newest stored day and its close of those pairs that are stored."""
        ...


class PlausibilityChecker:
    """Checks spot prices against the last good ones, which come from the cache and the archive.

    Args:
        guard: The rules, and the last good prices.
        cache: The cache of quotes.
        closes: The archive of daily closes.
        clock: Its monotonic time measures ages.
        data_clock: The upstream's clock, for the age of closes.
    """

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
        self._refresh: Callable[[Sequence[Pair]], Awaitable[None]] | None = None

    def use_source(self, refresh: Callable[[Sequence[Pair]], Awaitable[None]]) -> None:
        """Set how spot prices are fetched; they are built after the checker, which they use."""
        self._refresh = refresh

    async def prepare(self, pairs: Iterable[Pair]) -> None:
        """Load the last good prices of pairs; call it before `plausible`."""
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

        If a false price was accepted before, the right price looks like a jump. It is accepted at once if the
        archive agrees with it, and less with the last good price.

        Args:
            pair: Coin and currency.
            price: The new price, positive.
        """
        now = self._clock.monotonic()
        if self._guard.plausible(pair, price, now, spot=True):
            return True
        last = self._guard.last_good(pair, now)
        if last is None or not self._fits_archive(pair, price) or not self._fits_better(pair, price, last):
            # The close is read again at the next check, since the archive may be repaired meanwhile.
            self._known_closes.pop(pair, None)
            return False
        self._guard.accept(pair, price, now)
        return True

    def consistent(self, pair: Pair, price: float) -> bool:
        """Return whether nothing that is known speaks against a price that another process stored."""
        return self._guard.consistent(pair, price, self._clock.monotonic())

    def plausible_supply(self, pair: Pair, coins: float) -> bool:
        """Return whether the supply of a coin is plausible that follows from its market cap and price."""
        name = (pair[0], f"supply in {pair[1]}")
        return self._guard.plausible(name, coins, self._clock.monotonic())

    def last_price(self, pair: Pair) -> float | None:
        """Return the newest accepted price of a pair, or None if none is cached."""
        entry = self._cache.peek(quote_key(pair))
        return entry.value.price if entry is not None and entry.value is not None else None

    def knows(self, pair: Pair) -> bool:
        """Return whether a price of a pair is cached, or a close of the last days is stored.

        A document without any figure of such a pair is false. Call `prepare` before.
        """
        found = self._known_closes.get(pair)
        recent = found is not None and self._close_age(found[0]) < KNOWN_SECONDS
        return recent or self.last_price(pair) is not None

    async def witness_price(self, pair: Pair) -> float | None:
        """Return a recent accepted price, fetched where none is cached; None where none can be had soon."""
        entry = self._cache.peek(quote_key(pair))
        recent = entry is not None and self._cache.age(entry) <= MAX_WITNESS_SECONDS
        if self._refresh is not None and not recent:
            with suppress(CoincastError, TimeoutError):
                async with asyncio.timeout(WITNESS_PATIENCE_SECONDS):
                    await self._refresh([pair])
        return self.last_price(pair)

    def contradict(self, pair: Pair, day: date, close: float) -> None:
        """Drop the accepted price of a pair, which a history contradicts: one of the two is false.

        The next price is compared with the close of that history, and waits for a second fetch if it is as
        far off; one that agrees is accepted at once.

        Args:
            pair: Coin and currency.
            day: The newest day of the history.
            close: Its close.
        """
        now = self._clock.monotonic()
        seen_at = now - max(0.0, self._close_age(day))
        self._known_closes.pop(pair, None)
        self._cache.drop(quote_key(pair))
        self._guard.seed(pair, close, seen_at=seen_at, until=seen_at + CLOSE_SECONDS, of_close=True)

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
            self._guard.seed(pair, found[1], seen_at=seen_at, until=seen_at + CLOSE_SECONDS, of_close=True)

    def _fits_archive(self, pair: Pair, price: float) -> bool:
        found = self._known_closes.get(pair)
        if found is None:
            return False
        age = self._close_age(found[0])
        return age < CLOSE_SECONDS and ratio(price, found[1]) < spot_factor(max(age, 0.0), of_close=True)

    def _fits_better(self, pair: Pair, price: float, last: float) -> bool:
        """Return whether the archive's close speaks for a price rather than for the last good one."""
        found = self._known_closes.get(pair)
        if found is None:
            return False
        return ratio(last, found[1]) >= BETTER_FACTOR * ratio(price, found[1])

    def _close_age(self, day: date) -> float:
        return self._data_clock.now() - midnight(day) - DAY_SECONDS
