"""HistoryCache kept in memory until their coin has a new closed day; the day is the source's, never this
machine's.

Missing coins of one request are one fetch, a coin that is being fetched is not fetched twice, and a fetch
outlives the caller who began it. Where the source fails, what is kept goes on, marked stale.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

from coincast_chassis import context
from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, NotFound, Timeout, Unavailable
from coincast_forecast import metrics
from coincast_forecast.domain import HistoryCounts, Source
from coincast_forecast.lru import Lru
from coincast_forecast.ports import History, HistorySource
from coincast_modelkit.features import REFERENCE_COINS

Key = tuple[str, str]
Fetched = Mapping[str, History | CoincastError]

NOT_FOUND_KEPT_SECONDS = 10.0
RETRY_AFTER_FAILURE_SECONDS = 5.0
FIRST_LOOK_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Kept:
    history: History
    day: date
    check_after: float
    late_reason: str = ""


@dataclass(slots=True, eq=False)
class _Day:
    last: date
    seen_at: float


class HistoryCache:
    """Candles by coin and currency."""

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
        self._kept: Lru[Key, _Kept] = Lru(coins)
        self._unknown: Lru[Key, tuple[float, CoincastError]] = Lru(1000)
        self._days: dict[str, _Day] = {}
        self._flights: dict[Key, asyncio.Task[Fetched]] = {}
        self._day_flights: dict[str, asyncio.Task[None]] = {}
        self._hits = self._misses = 0
        self._first_error = "market-data was not asked for one yet"
        self.source_up = False

    @property
    def missing_reason(self) -> str:
        """Why there is nothing to make a forecast from; empty as soon, and as long, as there is."""
        return "" if len(self._kept) else self._first_error

    async def get(self, ids: Iterable[str], vs_currency: str) -> dict[str, History | CoincastError]:
        """Each coin's history, stale where it must be, or the error that a caller can act on."""
        answer: dict[str, History | CoincastError] = {}
        missing: list[str] = []
        if vs_currency not in self._days:
            await self._first_day(vs_currency)
        for coin in ids:
            found = self._peek(coin, vs_currency)
            if found is None:
                missing.append(coin)
            else:
                answer[coin] = found
        self.count_hits(len(answer))
        self._misses += len(missing)
        if missing:
            metrics.HISTORY.labels("miss").inc(len(missing))
            answer.update(await self._fetch_all(missing, vs_currency))
        return answer

    def peek(self, coin: str, vs_currency: str) -> History | None:
        """A coin's history where it need not be fetched."""
        found = self._peek(coin, vs_currency) if vs_currency in self._days else None
        return found if isinstance(found, History) else None

    def count_hits(self, coins: int) -> None:
        """So many coins were answered with what `peek` gave."""
        self._hits += coins
        metrics.HISTORY.labels("hit").inc(coins)

    async def check_days(self) -> None:
        """Ask for the last closed day of every currency in use; failures are remembered, not raised."""
        await asyncio.gather(*(self._check_day(vs) for vs in list(self._days) or ["usd"]))

    async def watch_days(self, every_seconds: float) -> None:
        """Check the days for ever, and see that there is a history to begin with: soon again while there is
        none.
        """
        while True:
            await self.check_days()
            await self.get_first()
            await asyncio.sleep(
                min(every_seconds, FIRST_LOOK_SECONDS) if self.missing_reason else every_seconds
            )

    async def get_first(self) -> None:
        """Where no history is kept, get a reference coin's; what stands in the way is remembered, not raised.
        A source that answers but knows none of these coins is taken to have others.
        """
        for coin in REFERENCE_COINS:
            if len(self._kept):
                return
            found = (await self._fetch_all([coin], "usd"))[coin]
            known = not isinstance(found, NotFound)
            self._first_error = found.message if isinstance(found, CoincastError) and known else ""
            if known:
                return

    def counts(self) -> HistoryCounts:
        """Coins kept, requests answered from memory, and not."""
        return HistoryCounts(len(self._kept), self._hits, self._misses)

    async def aclose(self) -> None:
        """Cancel what is in flight."""
        tasks = {*self._flights.values(), *self._day_flights.values()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _peek(self, coin: str, vs_currency: str) -> History | CoincastError | None:
        key, now = (coin, vs_currency), self._clock.monotonic()
        kept = self._kept.get(key)
        if kept is None:
            unknown = self._unknown.get(key)
            return unknown[1] if unknown is not None and now < unknown[0] else None
        day = self._days.get(vs_currency)
        current = day is not None and kept.day == day.last
        return self._shown(kept, vs_currency) if current or now < kept.check_after else None

    def _shown(self, kept: _Kept, vs_currency: str) -> History:
        """What is kept, with where it stands at this moment."""
        day = self._days.get(vs_currency)
        silent = self._clock.monotonic() - day.seen_at if day is not None else self._stale_after_seconds + 1
        if kept.late_reason:
            reason = kept.late_reason
        elif silent > self._stale_after_seconds:
            reason = "market-data has not answered lately: a newer day may be missing"
        else:
            return kept.history
        before = kept.history.provenance
        stale = replace(before, source=_after_keeping(before.source, stale=True), stale=True, reason=reason)
        return replace(kept.history, provenance=stale)

    async def _fetch_all(self, missing: list[str], vs_currency: str) -> Fetched:
        fresh = [coin for coin in missing if (coin, vs_currency) not in self._flights]
        if fresh:
            task = asyncio.create_task(self._fetch(fresh, vs_currency), context=context.detached())
            for coin in fresh:
                self._flights[coin, vs_currency] = task
        flights = {coin: self._flights[coin, vs_currency] for coin in missing}
        left = context.remaining_seconds()
        limit = self._timeout_seconds if left is None else min(self._timeout_seconds, max(0.0, left / 2))
        await asyncio.wait(set(flights.values()), timeout=limit)
        return {coin: self._landed(coin, vs_currency, task) for coin, task in flights.items()}

    def _landed(self, coin: str, vs_currency: str, task: asyncio.Task[Fetched]) -> History | CoincastError:
        if task.done():
            result = task.result()[coin]
        else:
            result = Timeout(
                "market-data did not answer in time", retry_after_seconds=RETRY_AFTER_FAILURE_SECONDS
            )
        kept = self._kept.get((coin, vs_currency))
        if isinstance(result, NotFound) or kept is None:
            return result
        if isinstance(result, CoincastError):
            self._late(kept, coin, result)
        return self._shown(kept, vs_currency)

    def _late(self, kept: _Kept, coin: str, error: CoincastError) -> None:
        """Go on with what is kept for a while, and say so."""
        kept.check_after = self._clock.monotonic() + RETRY_AFTER_FAILURE_SECONDS
        kept.late_reason = f"the history of {coin} could not be brought up to date: {error.message}"

    async def _fetch(self, coins: list[str], vs_currency: str) -> Fetched:
        """Never raises: the whole fetch's error is each coin's."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = dict(await self._source.fetch(coins, vs_currency, self._history_days))
            self.source_up = True
        except TimeoutError:
            found = dict.fromkeys(
                coins,
                Timeout(
                    "market-data did not answer in time", retry_after_seconds=RETRY_AFTER_FAILURE_SECONDS
                ),
            )
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
        if isinstance(found, History):
            self._kept.put(key, self._renewed(key, found, now + self._retry_seconds))
            return found
        error = found or Unavailable(f"market-data sent nothing for {coin}", retry_after_seconds=1.0)
        if isinstance(error, NotFound):
            self._kept.discard(key)
            self._unknown.put(key, (now + NOT_FOUND_KEPT_SECONDS, error))
        return error

    def _renewed(self, key: Key, found: History, check_after: float) -> _Kept:
        """The same candles stay the same object, so that nothing is computed anew for a day already known."""
        source = _after_keeping(found.provenance.source, stale=found.provenance.stale)
        kept = self._kept.get(key)
        same = kept is not None and kept.day == found.candles.as_of
        candles = kept.history.candles if kept is not None and same else found.candles
        history = History(candles, replace(found.provenance, source=source))
        return _Kept(history, candles.as_of, check_after)

    async def _first_day(self, vs_currency: str) -> None:
        """Learn the day of a currency never seen; a failure shows when the histories are fetched."""
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
                last = await self._source.last_closed_day(vs_currency)
        except NotFound:
            # The source answers but does not have the coin that days are read from: coins are asked again
            # in turn, as if they lagged.
            last = date.min
        except (TimeoutError, CoincastError):
            self.source_up = False
            return
        self.source_up = True
        self._days[vs_currency] = _Day(last, self._clock.monotonic())


def _after_keeping(source: Source, *, stale: bool) -> Source:
    """What was live is fresh once it is kept, and stale once it is late; archive and sandbox stay what they
    are.
    """
    if source in (Source.ARCHIVE, Source.SANDBOX):
        return source
    return Source.STALE if stale else Source.FRESH if source is Source.LIVE else source
