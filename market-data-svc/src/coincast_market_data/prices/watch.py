"""Live prices: one poll of the upstream serves all subscribers.

A subscriber has no queue, only the number of the last event that it received, and then gets the newest
prices of the pairs that have changed since. So a slow subscriber skips intermediate prices and uses no
memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from coincast_chassis import context
from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Exhausted
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_market_data import metrics
from coincast_market_data.domain import ItemFailure, Quoted
from coincast_market_data.identifiers import Pair
from coincast_market_data.prices.service import PriceService

MAX_SUBSCRIBERS = 5000
# The most pairs in all different sets that subscribers watch; a set takes about a hundred bytes a pair.
MAX_WATCHED_PAIRS = 200_000
MAX_SHARED_UPDATES = 256
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PriceUpdate:
    """A message to a subscriber: the prices and failures that changed, or a heartbeat without any."""

    event_id: int
    prices: Sequence[Quoted] = ()
    failures: Sequence[ItemFailure] = ()
    heartbeat: bool = False


@dataclass(slots=True)
class _Watched:
    """The newest price of a pair or failure of a coin, and the event of its last change."""

    event_id: int
    quoted: Quoted | None = None
    failure: ItemFailure | None = None


@dataclass(eq=False, slots=True)
class _Subscriber:
    pairs: frozenset[Pair]
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class PriceWatch:
    """Polls the watched pairs, below the priority of callers, and wakes the subscribers of changed ones.

    Args:
        prices: Serves and fetches prices.
        clock: Its time is the first event number, so that numbers of an earlier process are recognised.
        poll_seconds: The time between two polls.
        heartbeat_seconds: The time without changes after which a subscriber gets a heartbeat.
    """

    def __init__(
        self, prices: PriceService, clock: Clock, *, poll_seconds: float, heartbeat_seconds: float
    ) -> None:
        self._prices = prices
        self._poll_seconds = poll_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._first_event = self._event = int(clock.now() * 1000)
        self._watching: Counter[Pair] = Counter()
        # How many watched pairs each coin has.
        self._coins: Counter[str] = Counter()
        self._state: dict[Pair, _Watched] = {}
        self._failures: dict[str, _Watched] = {}
        self._subscribers: set[_Subscriber] = set()
        # Each different set of pairs, once, and how many subscribers watch it.
        self._sets: dict[frozenset[Pair], tuple[frozenset[Pair], int]] = {}
        self._pairs_in_sets = 0
        self._shared: dict[tuple[frozenset[Pair], int], PriceUpdate] = {}
        self._poller: asyncio.Task[None] | None = None
        self._new = asyncio.Event()
        self._closing = asyncio.Event()

    async def subscribe(
        self, ids: Sequence[str], currencies: Sequence[str], after_event_id: int = 0
    ) -> AsyncGenerator[PriceUpdate, None]:
        """Yield updates until the caller closes the generator or the service drains; the first one at once.

        Args:
            ids: Ids of coins.
            currencies: Codes of currencies.
            after_event_id: The last event that the subscriber has received; 0 for none.

        Raises:
            InvalidInput: The ids or currencies are not valid.
            Exhausted: There are too many subscribers, or they watch too many pairs.
        """
        pairs, failures = self._prices.watchable(ids, currencies)
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise Exhausted(
                f"{MAX_SUBSCRIBERS} subscribers watch prices already; try again later", retry_after_seconds=30
            )
        wanted = frozenset(pairs)
        if wanted not in self._sets and self._pairs_in_sets + len(wanted) > MAX_WATCHED_PAIRS:
            raise Exhausted(
                f"{MAX_WATCHED_PAIRS} prices are watched already; watch fewer coins, or try again later",
                retry_after_seconds=30,
            )
        subscriber = _Subscriber(self._sets.get(wanted, (wanted, 0))[0])
        self._add(subscriber)
        try:
            await self._load([pair for pair in pairs if pair not in self._state])
            seen = after_event_id if self._first_event < after_event_id <= self._event else 0
            update = self._update(subscriber, seen)
            if failures:
                update = replace(update, failures=[*failures, *update.failures])
            yield update
            seen = update.event_id
            if self._closing.is_set():
                return
            while True:
                heartbeat = not await self._wait_for_change(subscriber)
                if self._closing.is_set():
                    return
                update = self._update(subscriber, seen)
                if update.prices or update.failures:
                    yield update
                elif heartbeat:
                    yield PriceUpdate(seen, heartbeat=True)
                seen = max(seen, update.event_id)
        finally:
            self._remove(subscriber)

    async def _wait_for_change(self, subscriber: _Subscriber) -> bool:
        """Wait for a change; return False if the heartbeat is due first."""
        try:
            async with asyncio.timeout(self._heartbeat_seconds):
                await subscriber.wake.wait()
        except TimeoutError:
            return False
        subscriber.wake.clear()
        return True

    def _add(self, subscriber: _Subscriber) -> None:
        self._subscribers.add(subscriber)
        count = self._sets.get(subscriber.pairs, (subscriber.pairs, 0))[1]
        self._sets[subscriber.pairs] = subscriber.pairs, count + 1
        if not count:
            self._pairs_in_sets += len(subscriber.pairs)
        self._coins.update(coin for coin, code in subscriber.pairs if (coin, code) not in self._watching)
        self._watching.update(subscriber.pairs)
        metrics.WATCH_SUBSCRIBERS.set(len(self._subscribers))
        self._new.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll_until_idle(), context=context.detached())

    def _remove(self, subscriber: _Subscriber) -> None:
        self._subscribers.discard(subscriber)
        count = self._sets.pop(subscriber.pairs)[1]
        if count > 1:
            self._sets[subscriber.pairs] = subscriber.pairs, count - 1
        else:
            self._pairs_in_sets -= len(subscriber.pairs)
        self._watching.subtract(subscriber.pairs)
        for pair in subscriber.pairs:
            if self._watching[pair] <= 0:
                del self._watching[pair]
                self._state.pop(pair, None)
                self._coins[pair[0]] -= 1
                if self._coins[pair[0]] <= 0:
                    del self._coins[pair[0]]
                    self._failures.pop(pair[0], None)
        metrics.WATCH_SUBSCRIBERS.set(len(self._subscribers))

    async def _load(self, pairs: Sequence[Pair]) -> None:
        """Load cached prices of pairs that were not watched before."""
        if pairs:
            self._record(await self._prices.cached(pairs), {})

    async def _poll_until_idle(self) -> None:
        while self._watching and not self._closing.is_set():
            self._new.clear()
            try:
                found, failures = await self._prices.poll(list(self._watching))
                self._record(found, failures)
            except CoincastError as error:
                log.info("watch_poll_failed", reason=error.message)
            except Exception:
                # Subscribers stay connected; the next poll may succeed.
                log.exception("watch_poll_failed")
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the next poll is due, or a subscriber watches a pair whose price is not known yet."""
        deadline = asyncio.get_running_loop().time() + self._poll_seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._new.wait()
            except TimeoutError:
                return
            self._new.clear()
            if any(pair not in self._state and pair[0] not in self._failures for pair in self._watching):
                return

    def _record(self, found: Mapping[Pair, Quoted], failures: Mapping[str, ItemFailure]) -> None:
        """Store the results of a poll, number the changes as one event, and wake the subscribers of them."""
        event_id = self._event + 1
        changed: set[Pair] = set()
        for pair, quoted in found.items():
            before = self._state.get(pair)
            if pair in self._watching and (before is None or _differs(before.quoted, quoted)):
                self._state[pair] = _Watched(event_id, quoted=quoted)
                changed.add(pair)
        changed |= self._record_failures({coin for coin, _ in found}, failures, event_id)
        if not changed:
            return
        self._event = event_id
        self._shared.clear()
        for subscriber in self._subscribers:
            if not changed.isdisjoint(subscriber.pairs):
                subscriber.wake.set()

    def _record_failures(
        self, served: set[str], failures: Mapping[str, ItemFailure], event_id: int
    ) -> set[Pair]:
        coins: set[str] = set()
        for coin in served - set(failures):
            self._failures.pop(coin, None)
        for coin, failure in failures.items():
            if coin not in self._coins:  # Its last subscriber left during the poll.
                continue
            before = self._failures.get(coin)
            if before is None or before.failure is None or before.failure.kind != failure.kind:
                self._failures[coin] = _Watched(event_id, failure=failure)
                coins.add(coin)
        return {pair for pair in self._watching if pair[0] in coins}

    def _update(self, subscriber: _Subscriber, seen: int) -> PriceUpdate:
        """Return the changes after an event. Subscribers of the same pairs share one object."""
        key = (subscriber.pairs, seen)
        update = self._shared.get(key)
        if update is None:
            update = PriceUpdate(
                self._event,
                _changed_after(seen, (self._state.get(pair) for pair in sorted(subscriber.pairs))),
                self._failures_after(seen, sorted({coin for coin, _ in subscriber.pairs})),
            )
            if len(self._shared) < MAX_SHARED_UPDATES:
                self._shared[key] = update
        return update

    def _failures_after(self, seen: int, coins: Iterable[str]) -> list[ItemFailure]:
        states = (self._failures.get(coin) for coin in coins)
        return [state.failure for state in states if state and state.failure and state.event_id > seen]

    def drain(self) -> None:
        """End all streams, so that the server does not wait for them."""
        self._closing.set()
        for subscriber in self._subscribers:
            subscriber.wake.set()

    async def aclose(self) -> None:
        """End all streams and stop polling."""
        self.drain()
        if self._poller is not None:
            await cancel_and_wait({self._poller})


def _changed_after(seen: int, states: Iterable[_Watched | None]) -> list[Quoted]:
    return [state.quoted for state in states if state and state.quoted and state.event_id > seen]


def _differs(before: Quoted | None, after: Quoted) -> bool:
    """Return whether the quote differs, or the price became stale or fresh."""
    return before is None or before.quote != after.quote or before.provenance.stale != after.provenance.stale
