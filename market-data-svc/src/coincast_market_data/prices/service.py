"""Serves prices from cache and upstream, each with its provenance.

Requests are counted by pair (coin and currency), so that popular prices are refreshed before they are stale.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from coincast_chassis import context
from coincast_chassis.errors import CoincastError, NotFound, Unavailable
from coincast_market_data import metrics
from coincast_market_data.cache.freshness import Freshness, classify
from coincast_market_data.cache.read_through import NegativeCache, late_error, wait_budget_seconds
from coincast_market_data.cache.two_level import CacheEntry
from coincast_market_data.catalogue.service import UnknownCoinBudget
from coincast_market_data.domain import ItemFailure, Prices, Provenance, Quote, Quoted, Source
from coincast_market_data.identifiers import Pair, canonical_currencies, echo, not_an_id, quote_key, split_ids
from coincast_market_data.item_errors import item_failure
from coincast_market_data.ports import CallQueue, CoinDirectory, DataClock, NoCallQueue, Priority
from coincast_market_data.prices.fetcher import Outcome, QuoteCache

MAX_PAIRS = 5000
LEAST_TOUCHES = 2


class PairPopularity:
    """Counts the requests of pairs between two refreshes, for a bounded number of pairs."""

    def __init__(self) -> None:
        self._touches: Counter[Pair] = Counter()

    def touch(self, pairs: Iterable[Pair]) -> None:
        """Count one request of each pair."""
        for pair in pairs:
            if pair in self._touches or len(self._touches) < MAX_PAIRS:
                self._touches[pair] += 1

    def take(self, most: int) -> list[Pair]:
        """Return the pairs requested at least twice since the last call, most requested first, and reset.

        Args:
            most: The most pairs to return.
        """
        touches, self._touches = self._touches, Counter()
        return [pair for pair, count in touches.most_common(most) if count >= LEAST_TOUCHES]


# A price that is older than the request accepts is fetched again. A price that was fetched within this time
# is not, so that an age that the upstream cannot meet does not cost a call per request.
LEAST_REFETCH_SECONDS = 5.0
# The longest time for which a pair without a usable price is not requested again.
LONGEST_REFUSAL_SECONDS = 60.0
# Suggestions cost a search each, so only the first unknown ids of a request get them.
MOST_HINTS = 8
SERVABLE = (Freshness.FRESH, Freshness.FRESH_REFRESH, Freshness.STALE_REFRESH)
Entry = CacheEntry[Quote | None]


class Fetches(Protocol):
    """The part of the batcher that the service uses."""

    async def fetch(self, pairs: Iterable[Pair], priority: Priority = Priority.LIVE) -> dict[Pair, Outcome]:
        """Fetch pairs, each of which is resolved to an entry or to an error of its own."""
        ...


class PriceService:
    """Serves the prices of many coins in many currencies; a coin that fails does not affect the others.

    Args:
        cache: The cache of quotes.
        batcher: Fetches prices.
        clock: The upstream's clock, for ages.
        hot: Counts requests by pair.
        sandbox: Whether the upstream is a sandbox.
        directory: The coins and currencies that CoinGecko lists.
        look_ups: Limits the look-ups of coins that are not in the directory.
        rand: Returns a random number in [0, 1) for early refreshes.
        queue: The calls that wait for the rate limit.
    """

    def __init__(
        self,
        cache: QuoteCache,
        batcher: Fetches,
        clock: DataClock,
        *,
        hot: PairPopularity,
        sandbox: bool,
        directory: CoinDirectory,
        look_ups: UnknownCoinBudget,
        rand: Callable[[], float] = random.random,
        queue: CallQueue | None = None,
    ) -> None:
        self._queue = queue or NoCallQueue()
        self._cache = cache
        self._batcher = batcher
        self._clock = clock
        self._hot = hot
        self._sandbox = sandbox
        self._directory = directory
        self._look_ups = look_ups
        self._rand = rand
        self._refused: NegativeCache[Pair] = NegativeCache(
            cache.clock, min(cache.kind.windows.fresh, LONGEST_REFUSAL_SECONDS)
        )
        self._refreshes: set[asyncio.Task[object]] = set()

    async def get(
        self, ids: Sequence[str], currencies: Sequence[str], max_age_seconds: float | None = None
    ) -> Prices:
        """Return the prices of every coin in every currency, and the failures of coins without a price.

        Args:
            ids: Ids of coins.
            currencies: Codes of currencies; empty means usd.
            max_age_seconds: The maximum accepted age of each price; None for any.

        Raises:
            InvalidInput: There are no or too many ids, or prices are not quoted in a currency.
        """
        coins, bad = split_ids(ids)
        codes = canonical_currencies(currencies)
        for code in codes:
            self._directory.check_currency(code, "vs_currencies")
        failures = [_not_an_id(text) for text in bad]
        pairs = [(coin, code) for coin in coins for code in codes if not self._look_ups.refuses(coin)]
        self._hot.touch(pairs)
        outcomes, live = await self._resolve(pairs, max_age_seconds)
        prices: list[Quoted] = []
        for coin in coins:
            hints = len(failures) < MOST_HINTS
            quoted, failure = await self._coin(coin, codes, outcomes, live, max_age_seconds, hints=hints)
            prices.extend(quoted)
            if failure:
                failures.append(failure)
        return Prices(prices, failures)

    async def refresh(self, pairs: Sequence[Pair]) -> None:
        """Fetch pairs again, below the priority of callers."""
        self._remember_refusals(await self._batcher.fetch(pairs, Priority.REFRESH))

    def watchable(
        self, ids: Sequence[str], currencies: Sequence[str]
    ) -> tuple[list[Pair], list[ItemFailure]]:
        """Return the requested pairs, and the failures of malformed ids.

        Args:
            ids: Ids of coins.
            currencies: Codes of currencies; empty means usd.

        Raises:
            InvalidInput: There are no or too many ids, or prices are not quoted in a currency.
        """
        coins, bad = split_ids(ids)
        codes = canonical_currencies(currencies)
        for code in codes:
            self._directory.check_currency(code, "vs_currencies")
        return [(coin, code) for coin in coins for code in codes], [_not_an_id(text) for text in bad]

    async def cached(self, pairs: Sequence[Pair]) -> dict[Pair, Quoted]:
        """Return the cached prices of pairs, without an upstream call."""
        entries = await self._cache.read([quote_key(pair) for pair in pairs])
        found = {pair: self._usable(entries.get(quote_key(pair))) for pair in pairs}
        return {
            pair: Quoted(entry.value, self._provenance(entry, live=False, met=None))
            for pair, entry in found.items()
            if entry is not None and entry.value is not None
        }

    async def poll(self, pairs: Sequence[Pair]) -> tuple[dict[Pair, Quoted], dict[str, ItemFailure]]:
        """Return the newest prices of pairs, and by coin the failure if it has no price.

        Only pairs without a fresh cached price are fetched, below the priority of callers.
        """
        cached = await self._cache.read([quote_key(pair) for pair in pairs])
        known = {pair: cached.get(quote_key(pair)) for pair in pairs}
        due = [
            pair
            for pair, entry in known.items()
            if not self._look_ups.refuses(pair[0]) and self._freshness(entry) is not Freshness.FRESH
        ]
        refused = {pair: error for pair in due if (error := self._refused.find(pair)) is not None}
        due = [pair for pair in due if pair not in refused]
        fetched = await self._batcher.fetch(due, Priority.REFRESH) if due else {}
        self._remember_refusals(fetched)
        fetched = {**refused, **fetched}
        outcomes: dict[Pair, tuple[Entry | None, CoincastError | None]] = {}
        for pair in pairs:
            outcome = fetched.get(pair)
            if isinstance(outcome, CacheEntry):
                outcomes[pair] = (outcome, None)
            else:
                outcomes[pair] = (self._usable(known[pair]), outcome)
        prices: dict[Pair, Quoted] = {}
        failures: dict[str, ItemFailure] = {}
        codes_of: dict[str, list[str]] = {}
        for coin, code in pairs:
            codes_of.setdefault(coin, []).append(code)
        for coin, codes in codes_of.items():
            hints = len(failures) < MOST_HINTS
            quoted, failure = await self._coin(coin, codes, outcomes, set(), None, hints=hints)
            prices |= {(coin, item.quote.vs_currency): item for item in quoted}
            if failure is not None:
                failures[coin] = failure
        return prices, failures

    def nothing_found(self) -> Provenance:
        """Return the provenance of a reply without prices: of the present moment."""
        return Provenance(self._clock.now(), 0.0, Source.SANDBOX if self._sandbox else Source.LIVE)

    async def _resolve(
        self, pairs: Sequence[Pair], max_age: float | None
    ) -> tuple[dict[Pair, tuple[Entry | None, CoincastError | None]], set[Pair]]:
        """Resolve pairs from cache and upstream.

        Returns:
            For each pair the fetched or else the best cached entry, and the error of its fetch; and the pairs
            that were fetched just now.
        """
        cached = await self._cache.read([quote_key(pair) for pair in pairs], max_age)
        known = {pair: cached.get(quote_key(pair)) for pair in pairs}
        needed, early = self._sort(known, max_age)
        # The stored error of a pair also becomes the reason if a stale price is served.
        refused = {
            pair: error for pair in (*needed, *early) if (error := self._refused.find(pair)) is not None
        }
        early = [pair for pair in early if pair not in refused]
        if early:
            self._refresh_in_background(early)
        needed = [pair for pair in needed if pair not in refused]
        fetched = {**refused, **(await self._fetch(needed, known) if needed else {})}
        result: dict[Pair, tuple[Entry | None, CoincastError | None]] = {}
        live: set[Pair] = set()
        for pair in pairs:
            outcome = fetched.get(pair)
            if isinstance(outcome, CacheEntry):
                result[pair] = (outcome, None)
                live.add(pair)
            else:
                result[pair] = (self._usable(known[pair]), outcome)
        return result, live

    async def _fetch(
        self, needed: Sequence[Pair], known: Mapping[Pair, Entry | None]
    ) -> Mapping[Pair, Outcome]:
        """Fetch pairs within the wait budget, which is short if all of them have a cached price."""
        fallback = all(self._usable(known[pair]) for pair in needed)
        try:
            async with asyncio.timeout(wait_budget_seconds(fallback=fallback)):
                outcomes = await self._batcher.fetch(needed)
        except TimeoutError:
            return dict.fromkeys(needed, late_error(self._queue.seconds_to_turn(Priority.LIVE)))
        self._remember_refusals(outcomes)
        return outcomes

    def _remember_refusals(self, outcomes: Mapping[Pair, Outcome]) -> None:
        for pair, outcome in outcomes.items():
            if isinstance(outcome, CoincastError):
                self._refused.remember(pair, outcome)
            else:
                self._refused.forget(pair)

    def _sort(
        self, known: Mapping[Pair, Entry | None], max_age: float | None
    ) -> tuple[list[Pair], list[Pair]]:
        needed: list[Pair] = []
        early: list[Pair] = []
        for pair, entry in known.items():
            freshness = self._freshness(entry)
            if freshness not in SERVABLE or self._too_old(entry, max_age):
                needed.append(pair)
            elif freshness is not Freshness.FRESH:
                early.append(pair)
        return needed, early

    def _freshness(self, entry: Entry | None) -> Freshness:
        if entry is None:
            return Freshness.GONE
        age = self._cache.age(entry)
        freshness = classify(
            age, self._cache.kind.windows, fetch_seconds=entry.fetch_seconds, rand=1 - self._rand()
        )
        if entry.value is None and freshness is Freshness.STALE_REFRESH:
            return Freshness.GONE  # the coin may have been listed meanwhile, so it is looked up again
        return freshness

    def _too_old(self, entry: Entry | None, max_age: float | None) -> bool:
        if entry is None or max_age is None or entry.value is None:
            return False
        old = self._clock.now() - _as_of(entry) > max_age
        return old and self._cache.age(entry) > min(LEAST_REFETCH_SECONDS, max_age)

    def _usable(self, entry: Entry | None) -> Entry | None:
        return entry if entry and self._cache.age(entry) < self._cache.kind.windows.if_error else None

    def _refresh_in_background(self, pairs: Sequence[Pair]) -> None:
        task = asyncio.create_task(self.refresh(pairs), context=context.detached())
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    async def _coin(
        self,
        coin: str,
        codes: Sequence[str],
        outcomes: Mapping[Pair, tuple[Entry | None, CoincastError | None]],
        live: set[Pair],
        max_age: float | None,
        *,
        hints: bool,
    ) -> tuple[list[Quoted], ItemFailure | None]:
        quoted: list[Quoted] = []
        error: CoincastError | None = None
        missing: list[str] = []
        for code in codes:
            entry, met = outcomes.get((coin, code), (None, None))
            if entry is None or entry.value is None:
                error = met or error
                missing.append(code)
                continue
            found = Quoted(entry.value, self._provenance(entry, (coin, code) in live, met))
            if max_age is not None and found.provenance.age_seconds > max_age:
                error = _too_old_error(found, max_age, met)
            else:
                quoted.append(found)
        if error is None and missing:
            error = await self._no_price_error(coin, missing, any_found=bool(quoted), hints=hints)
        return quoted, item_failure(coin, error) if error else None

    async def _no_price_error(
        self, coin: str, missing: Sequence[str], *, any_found: bool, hints: bool
    ) -> CoincastError:
        if any_found:
            return NotFound(f"{coin} has no price in {', '.join(missing)}", field="vs_currencies")
        if self._directory.is_certainly_known(coin):
            return NotFound(f"{coin} has no price in {', '.join(missing)} at CoinGecko", field="ids")
        names = await self._directory.suggest(coin) if hints else ()
        hint = f"; did you mean {', '.join(names[:3])}?" if names else ""
        return NotFound(
            f"CoinGecko has no coin {echo(coin)} with such a price{hint}", field="ids", suggestions=names
        )

    def _provenance(self, entry: Entry, live: bool, met: CoincastError | None) -> Provenance:
        as_of = _as_of(entry)
        stale = not live and self._cache.age(entry) >= self._cache.kind.windows.fresh
        source = Source.SANDBOX if self._sandbox else _source(live, stale)
        age = max(0.0, self._clock.now() - as_of)
        metrics.CACHE_SERVED.labels(kind="quote", freshness=_source(live, stale)).inc()
        metrics.SERVED_AGE_SECONDS.observe(age)
        reason = ""
        if stale:
            reason = met.message if met else "a newer figure is being fetched"
        return Provenance(as_of, age, source, stale, reason)

    async def aclose(self) -> None:
        """Wait for the background refreshes."""
        await asyncio.gather(*self._refreshes, return_exceptions=True)


def worst(provenances: Iterable[Provenance]) -> Provenance | None:
    """Return the provenance of a set of figures: that of the oldest, marked as stale if any of them is stale.

    None without figures.
    """
    items = list(provenances)
    if not items:
        return None
    oldest = max(items, key=lambda p: p.age_seconds)
    stale = next((p for p in items if p.stale), None)
    return replace(oldest, stale=True, source=stale.source, reason=stale.reason) if stale else oldest


def _as_of(entry: Entry) -> float:
    seen = entry.value.last_updated_at if entry.value else None
    return min(seen, entry.fetched_at) if seen is not None else entry.fetched_at


def _source(live: bool, stale: bool) -> Source:
    if live:
        return Source.LIVE
    return Source.STALE if stale else Source.FRESH


def _too_old_error(found: Quoted, max_age: float, met: CoincastError | None) -> Unavailable:
    why = f" ({met.message})" if met else ""
    return Unavailable(
        f"the newest price of {found.quote.id} is {found.provenance.age_seconds:.0f} s old,"
        f" older than the requested {max_age:g} s{why}",
        field="max_age_seconds",
        retry_after_seconds=(met.retry_after_seconds if met else None) or LEAST_REFETCH_SECONDS,
    )


def _not_an_id(text: str) -> ItemFailure:
    return ItemFailure(text, "invalid_input", not_an_id(text), field="ids")
