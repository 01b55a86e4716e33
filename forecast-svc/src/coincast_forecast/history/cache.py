"""Cache of daily histories, valid until the source closes a new day.

The newest closed day is that of the source and not of this machine, since the sandbox's calendar is shifted.
The missing coins of one request are fetched together, a coin in flight is not fetched twice, and the
cancellation of a caller does not cancel its fetch. While the source fails, cached histories are served and
marked stale. A partial history expires after a few seconds and is fetched again. A whole one is served all
day, and read again in the background from time to time: market-data may have replaced days that were restated
or imported, and reading what it has stored costs no upstream call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from coincast_chassis import context
from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, NotFound, Timeout, Unavailable
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_forecast import metrics
from coincast_forecast.domain import History, HistoryCounts, Source
from coincast_forecast.ports import HistorySource
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import REFERENCE_COINS

Key = tuple[str, str]
Fetched = Mapping[str, History | CoincastError]

# The newest closed day is that of this coin's history, since the coin trades at all hours.
CLOCK_COIN = REFERENCE_COINS[0]
NOT_FOUND_TTL_SECONDS = 10.0
RETRY_AFTER_FAILURE_SECONDS = 5.0
# TTL of a partial history if the source gives no retry time.
PARTIAL_TTL_SECONDS = 5.0
MAX_PARTIAL_TTL_SECONDS = 60.0
FIRST_CHECK_SECONDS = 1.0
# A whole history in use is read again after so long.
REREAD_SECONDS = 300.0


@dataclass(slots=True, eq=False)
class _Entry:
    history: History
    day: date
    check_after: float
    reread_after: float
    stale_reason: str = ""


@dataclass(slots=True, eq=False)
class _Day:
    last: date
    seen_at: float


class HistoryCache:
    """Histories by coin and currency."""

    def __init__(
        self,
        source: HistorySource,
        clock: Clock,
        *,
        days: int,
        coins: int,
        timeout_seconds: float,
        retry_seconds: float,
        stale_after_seconds: float,
    ) -> None:
        self._source = source
        self._clock = clock
        self._history_days = days
        self._timeout_seconds = timeout_seconds
        self._retry_seconds = retry_seconds
        self._stale_after_seconds = stale_after_seconds
        self._entries: Lru[Key, _Entry] = Lru(coins)
        self._unknown: Lru[Key, tuple[float, CoincastError]] = Lru(1000)
        self._days: dict[str, _Day] = {}
        self._flights: dict[Key, asyncio.Task[Fetched]] = {}
        self._day_flights: dict[str, asyncio.Task[None]] = {}
        # Coins by currency that are about to be read again.
        self._rereads: dict[str, list[str]] = {}
        self._hits = self._misses = 0
        # Whether a history was cached since the start; a week from a sparkline does not count, since it
        # cannot be forecast from.
        self._has_histories = False
        self._first_error = "no history has been requested from market-data yet"
        self.source_up = False

    @property
    def missing_reason(self) -> str:
        """Return why no history is cached; empty if one is."""
        return "" if self._has_histories else self._first_error

    async def get(
        self, ids: Iterable[str], vs_currency: str, *, references: Collection[str] = ()
    ) -> dict[str, History | CoincastError]:
        """Return each coin's history, marked if it is stale, or the error of its fetch.

        Args:
            ids: Ids of the coins.
            vs_currency: The currency of the prices.
            references: Further coins, for which a week from a sparkline suffices while nothing more is
                stored.
        """
        wanted = set(ids := list(ids))
        weekly = [coin for coin in references if coin not in wanted]
        ids = [*ids, *weekly]
        answer: dict[str, History | CoincastError] = {}
        missing: list[str] = []
        if vs_currency not in self._days and CLOCK_COIN not in ids:
            await self._first_day(vs_currency)
        for coin in ids:
            found = self._peek(coin, vs_currency)
            if found is None or (coin not in weekly and _is_week(found)):
                missing.append(coin)
            else:
                answer[coin] = found
        self.count_hits(len(answer))
        self._misses += len(missing)
        if missing:
            metrics.HISTORY.labels("miss").inc(len(missing))
            answer.update(await self._fetch_all(missing, vs_currency, weekly))
        return answer

    def peek(self, coin: str, vs_currency: str) -> History | None:
        """Return a coin's cached and current history, or None; nothing is fetched."""
        found = self._peek(coin, vs_currency) if vs_currency in self._days else None
        return found if isinstance(found, History) and not found.from_sparkline else None

    def count_hits(self, coins: int) -> None:
        """Count coins that were served from `peek`."""
        self._hits += coins
        metrics.HISTORY.labels("hit").inc(coins)

    async def check_days(self) -> None:
        """Read the last closed day of every currency in use; a failure marks the source as down."""
        await asyncio.gather(*(self._check_day(vs) for vs in list(self._days) or ["usd"]))

    async def watch_days(self, every_seconds: float) -> None:
        """Check the days periodically, and every second until a first history is cached."""
        while True:
            await self.check_days()
            await self.get_first()
            wait = min(every_seconds, FIRST_CHECK_SECONDS) if self.missing_reason else every_seconds
            await asyncio.sleep(wait)

    async def get_first(self) -> None:
        """Fetch a reference coin's history if no history is cached; a failure is stored as `missing_reason`.

        If the source answers but knows none of the reference coins, it is assumed to have other coins.
        """
        for coin in REFERENCE_COINS:
            if self._has_histories:
                return
            found = (await self._fetch_all([coin], "usd"))[coin]
            known = not isinstance(found, NotFound)
            self._first_error = found.message if isinstance(found, CoincastError) and known else ""
            if known:
                return

    def counts(self) -> HistoryCounts:
        """Return the number of cached coins, hits and misses."""
        return HistoryCounts(len(self._entries), self._hits, self._misses)

    async def aclose(self) -> None:
        """Cancel the fetches in flight."""
        await cancel_and_wait({*self._flights.values(), *self._day_flights.values()})

    def _peek(self, coin: str, vs_currency: str) -> History | CoincastError | None:
        key, now = (coin, vs_currency), self._clock.monotonic()
        entry = self._entries.get(key)
        if entry is None:
            unknown = self._unknown.get(key)
            return unknown[1] if unknown is not None and now < unknown[0] else None
        day = self._days.get(vs_currency)
        current = day is not None and entry.day == day.last and entry.history.is_whole
        if current and now >= entry.reread_after:
            entry.reread_after = now + REREAD_SECONDS
            self._reread_soon(coin, vs_currency)
        return self._mark_stale(entry, vs_currency) if current or now < entry.check_after else None

    def _reread_soon(self, coin: str, vs_currency: str) -> None:
        """Read a history again in the background, together with the others of the same request."""
        if vs_currency not in self._rereads:
            self._rereads[vs_currency] = []
            asyncio.get_running_loop().call_soon(self._start_reread, vs_currency)
        self._rereads[vs_currency].append(coin)

    def _start_reread(self, vs_currency: str) -> None:
        coins = [coin for coin in self._rereads.pop(vs_currency) if (coin, vs_currency) not in self._flights]
        if coins:
            self._start_fetch(coins, vs_currency, ())

    def _start_fetch(self, coins: list[str], vs_currency: str, weekly: Collection[str]) -> None:
        task = asyncio.create_task(self._fetch(coins, vs_currency, weekly), context=context.detached())
        for coin in coins:
            self._flights[coin, vs_currency] = task

    def _mark_stale(self, entry: _Entry, vs_currency: str) -> History:
        """Return the cached history; mark its provenance as stale if a newer day may exist."""
        day = self._days.get(vs_currency)
        silent = self._clock.monotonic() - day.seen_at if day is not None else self._stale_after_seconds + 1
        if entry.stale_reason:
            reason = entry.stale_reason
        elif silent > self._stale_after_seconds:
            reason = "market-data has not answered lately: a newer day may be missing"
        else:
            return entry.history
        before = entry.history.provenance
        stale = replace(before, source=_cached_source(before.source, stale=True), stale=True, reason=reason)
        return replace(entry.history, provenance=stale)

    async def _fetch_all(self, missing: list[str], vs_currency: str, weekly: Collection[str] = ()) -> Fetched:
        fresh = [coin for coin in missing if (coin, vs_currency) not in self._flights]
        if fresh:
            self._start_fetch(fresh, vs_currency, weekly)
        flights = {coin: self._flights[coin, vs_currency] for coin in missing}
        left = context.remaining_seconds()
        limit = self._timeout_seconds if left is None else min(self._timeout_seconds, max(0.0, left / 2))
        await asyncio.wait(set(flights.values()), timeout=limit)
        return {
            coin: self._result_of(coin, vs_currency, task, week_suffices=coin in weekly)
            for coin, task in flights.items()
        }

    def _result_of(
        self, coin: str, vs_currency: str, task: asyncio.Task[Fetched], *, week_suffices: bool
    ) -> History | CoincastError:
        """Return the result of a fetch; after an error, the cached history marked as stale."""
        result = task.result()[coin] if task.done() else _timeout()
        entry = self._entries.get((coin, vs_currency))
        if isinstance(result, NotFound) or entry is None:
            return result
        if entry.history.from_sparkline and not week_suffices:
            return result
        if isinstance(result, CoincastError):
            entry.check_after = self._clock.monotonic() + RETRY_AFTER_FAILURE_SECONDS
            entry.stale_reason = f"the history of {coin} could not be brought up to date: {result.message}"
        return self._mark_stale(entry, vs_currency)

    async def _fetch(self, coins: list[str], vs_currency: str, weekly: Collection[str]) -> Fetched:
        """Fetch and cache histories.

        It never raises: an error of the whole fetch becomes each coin's error.
        """
        found: dict[str, History | CoincastError]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                sparkline_ids = [coin for coin in coins if coin in weekly]
                found = dict(
                    await self._source.fetch(
                        coins, vs_currency, self._history_days, sparkline_ids=sparkline_ids
                    )
                )
            self.source_up = True
        except TimeoutError:
            found = dict.fromkeys(coins, _timeout())
            self.source_up = False
        except CoincastError as error:
            found = dict.fromkeys(coins, error)
            self.source_up = not isinstance(error, Unavailable | Timeout)
        finally:
            for coin in coins:
                self._flights.pop((coin, vs_currency), None)
        return {coin: self._store(coin, vs_currency, found.get(coin)) for coin in coins}

    def _store(
        self, coin: str, vs_currency: str, found: History | CoincastError | None
    ) -> History | CoincastError:
        key, now = (coin, vs_currency), self._clock.monotonic()
        if coin == CLOCK_COIN:
            self._learn_day(vs_currency, found)
        if isinstance(found, History):
            entry = self._entry_of(key, found, now)
            self._entries.put(key, entry)
            self._has_histories = self._has_histories or not entry.history.from_sparkline
            return entry.history
        error = found or Unavailable(f"market-data sent nothing for {coin}", retry_after_seconds=1.0)
        if isinstance(error, NotFound):
            self._entries.discard(key)
            self._unknown.put(key, (now + NOT_FOUND_TTL_SECONDS, error))
        return _to_be_retried(error)

    def _learn_day(self, vs_currency: str, found: History | CoincastError | None) -> None:
        """Read the newest closed day of a currency from the history of CLOCK_COIN."""
        if isinstance(found, History):
            known = self._days.get(vs_currency)
            last = max(found.candles.as_of, known.last) if known is not None else found.candles.as_of
            self._days[vs_currency] = _Day(last, self._clock.monotonic())
        elif isinstance(found, NotFound) and vs_currency not in self._days:
            # The source answers but lacks CLOCK_COIN. With a day that no history has, each coin is fetched
            # again after its own retry time.
            self._days[vs_currency] = _Day(date.min, self._clock.monotonic())

    def _entry_of(self, key: Key, found: History, now: float) -> _Entry:
        """Return the cache entry of a fetched history.

        If the candles are unchanged, the old object is used, so that cached features and forecasts remain
        valid. A partial history does not replace a longer one; the longer one is still served, marked as
        stale.
        """
        source = _cached_source(found.provenance.source, stale=found.provenance.stale)
        old = self._entries.get(key)
        check_after = now + (self._retry_seconds if found.is_whole else _partial_ttl(found))
        if old is not None and found.partial_reason and len(found.candles) < len(old.history.candles):
            reason = f"the history of {key[0]} could not be brought up to date: {found.partial_reason}"
            return _Entry(old.history, old.day, check_after, now + REREAD_SECONDS, reason)
        same = old is not None and _equal(old.history.candles, found.candles)
        candles = old.history.candles if old is not None and same else found.candles
        history = replace(found, candles=candles, provenance=replace(found.provenance, source=source))
        return _Entry(history, candles.as_of, check_after, now + REREAD_SECONDS)

    async def _first_day(self, vs_currency: str) -> None:
        """Read the day of a new currency; a failure is reported later, when histories are fetched."""
        task = self._day_flights.get(vs_currency)
        if task is None:
            task = asyncio.create_task(self._check_day(vs_currency), context=context.detached())
            self._day_flights[vs_currency] = task
            task.add_done_callback(lambda _: self._day_flights.pop(vs_currency, None))
        left = context.remaining_seconds()
        await asyncio.wait([task], timeout=None if left is None else max(0.0, left / 3))

    async def _check_day(self, vs_currency: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                last = await self._newest_day(vs_currency)
        except NotFound:
            last = date.min  # as in _learn_day
        except (TimeoutError, CoincastError):
            self.source_up = False
            return
        self.source_up = True
        self._days[vs_currency] = _Day(last, self._clock.monotonic())

    async def _newest_day(self, vs_currency: str) -> date:
        """Return the source's newest closed day.

        The first time, it is read from the whole history of CLOCK_COIN, which the features need in any case:
        a request for the last days only would need another upstream call.
        """
        if self._entries.get((CLOCK_COIN, vs_currency)) is not None:
            return await self._source.last_closed_day(vs_currency)
        found = (await self._fetch_all([CLOCK_COIN], vs_currency))[CLOCK_COIN]
        if isinstance(found, CoincastError):
            raise found
        return found.candles.as_of


def _is_week(found: History | CoincastError) -> bool:
    return isinstance(found, History) and found.from_sparkline


def _timeout() -> Unavailable:
    return Unavailable("market-data did not answer in time", retry_after_seconds=RETRY_AFTER_FAILURE_SECONDS)


def _to_be_retried(error: CoincastError) -> CoincastError:
    """Convert a Timeout to Unavailable: the fetch continues, so a retry may find the history cached."""
    if not isinstance(error, Timeout):
        return error
    wait = error.retry_after_seconds
    return Unavailable(
        error.message, retry_after_seconds=RETRY_AFTER_FAILURE_SECONDS if wait is None else wait
    )


def _partial_ttl(history: History) -> float:
    wanted = history.retry_after_seconds
    return PARTIAL_TTL_SECONDS if wanted is None else min(max(wanted, 1.0), MAX_PARTIAL_TTL_SECONDS)


def _equal(one: Candles, other: Candles) -> bool:
    """Return whether two histories have the same days and figures."""
    return (
        len(one) == len(other)
        and bool((one.dates == other.dates).all())
        and all(
            np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
            for name in ("open", "high", "low", "close", "volume")
        )
    )


def _cached_source(source: Source, *, stale: bool) -> Source:
    """Return the source of a cached history: LIVE becomes FRESH or STALE; archive and sandbox remain."""
    if source in (Source.ARCHIVE, Source.SANDBOX):
        return source
    return Source.STALE if stale else Source.FRESH if source is Source.LIVE else source
