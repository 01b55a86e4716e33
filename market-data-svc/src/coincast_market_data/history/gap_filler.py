"""Gap filler: fetches the days and hours that the archive lacks from the upstream.

It plans the calls for the missing days. The fetches of a coin run one after the other and are coalesced, so
that one call serves all waiting callers and replicas. Charts are cached for a moment only, since the archive
stores the candles.
"""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Protocol
from weakref import WeakValueDictionary

import orjson
import structlog
from cachetools import LRUCache

from coincast_chassis.errors import CoincastError, NotFound
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_market_data import metrics
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.store import Archive, merge_candles
from coincast_market_data.cache.freshness import FreshnessPolicy
from coincast_market_data.cache.read_through import FetchResult, ReadThrough
from coincast_market_data.cache.two_level import CacheKind
from coincast_market_data.coingecko.client import parse_json
from coincast_market_data.coingecko.error_mapping import BeyondPlanReach, UnconfirmedData
from coincast_market_data.coingecko.parser import CleaningReport, Point, clean_series
from coincast_market_data.domain import Candle, RepairReport
from coincast_market_data.history.candle_builder import (
    DAY_SECONDS,
    HOUR_SECONDS,
    ONE_DAY,
    build_candles,
    build_hours,
    day_of,
    days_between,
    gaps,
    last_closed_day,
    last_closed_hour,
    midnight,
    within,
)
from coincast_market_data.history.continuity import (
    RUN_FACTOR,
    TAIL_DAYS,
    closes_at,
    contradicting_hours,
    head_end,
    implausible_ranges,
    isolated_runs,
    isolated_spans,
    jumps,
    needs_witness,
    restatement,
    tail_start,
    unconfirmed_tail,
    unsupported_head,
)
from coincast_market_data.history.deepening import CallerPrecedence, HistoryDeepener
from coincast_market_data.identifiers import document_key
from coincast_market_data.ports import DataClock, Priority, Upstream, UpstreamRequest
from coincast_market_data.validation.outliers import (
    AGREEMENT_FACTOR,
    CONFIRMED_AFTER_SECONDS,
    ConfirmationTracker,
    ratio,
)
from coincast_market_data.validation.quality_log import QualityLog

# `market_chart` has hourly points for spans of up to 90 days; two days less leave room for both ends.
HOURLY_DAYS = 88
# The point that closes the last day may be a little after midnight.
PAST_MIDNIGHT_SECONDS = 900
TAIL_HOURS = 24 * TAIL_DAYS


@dataclass(frozen=True, slots=True)
class Call:
    """One upstream call for the days from `first` to `last`: the path below the coin, and its parameters."""

    first: date
    last: date
    path: str
    query: tuple[tuple[str, str], ...]


def plan_calls(missing: Sequence[date], today: date, currency: str, *, hourly: bool) -> list[Call]:
    """Plan the calls for missing days, newest first.

    Args:
        missing: The missing days, sorted.
        today: The current UTC day.
        currency: The canonical code.
        hourly: Whether long spans are fetched in parts with hourly points, which give whole candles.
            Otherwise one call fetches all days, and days beyond 88 get closes only.
    """
    if not missing:
        return []
    back = (today - missing[0]).days
    if back <= HOURLY_DAYS or not hourly:
        return [_back_from_now(missing, back, currency)]
    return span_calls(missing, currency)


def span_calls(days: Sequence[date], currency: str) -> list[Call]:
    """Return the calls that fetch hourly points of days, newest first.

    Args:
        days: The days, sorted.
        currency: The canonical code.
    """
    return [_span(first, last, currency) for first, last in spans(days)]


def spans(days: Sequence[date]) -> list[tuple[date, date]]:
    """Return the (first, last) day of spans that cover the days, newest first.

    Each span is short enough for hourly points.
    """
    found: list[tuple[date, date]] = []
    last = first = None
    for day in reversed(days):
        if last is None or (last - day).days >= HOURLY_DAYS:
            if last is not None and first is not None:
                found.append((first, last))
            last = day
        first = day
    if last is not None and first is not None:
        found.append((first, last))
    return found


def _back_from_now(missing: Sequence[date], back: int, currency: str) -> Call:
    # One day more than needed, since its last point is the open of the first candle.
    query = (("vs_currency", currency), ("days", str(back + 1)), ("precision", "full"))
    return Call(missing[0], missing[-1], "market_chart", query)


def _span(first: date, last: date, currency: str) -> Call:
    query = (
        ("vs_currency", currency),
        ("from", str(int(midnight(first)))),
        ("to", str(int(midnight(last + ONE_DAY)) + PAST_MIDNIGHT_SECONDS)),
        ("precision", "full"),
    )
    return Call(first, last, "market_chart/range", query)


def reachable(first: date, today: date, reach_days: int) -> date:
    """Return the earliest day from `first` on that the plan reaches.

    Args:
        first: The earliest day that is needed.
        today: The current UTC day.
        reach_days: How many days back the plan has data.
    """
    return max(first, today - timedelta(days=reach_days - 1))


# How long a chart is cached in Redis for other replicas.
CHART_CACHE_SECONDS = 20.0
# The fastest level of zlib; it already compresses the hourly points of a quarter to a sixth.
ZLIB_LEVEL = 1
# Longer than any chart of CoinGecko: a value in Redis could unpack to any size.
MAX_SERIES_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Series:
    """A parsed `market_chart`, and when it was received, UNIX seconds on the upstream's clock."""

    document: Any
    received_at: float


def chart_kind() -> CacheKind[bytes]:
    """Return the cache kind by which replicas share charts: compressed, and never served stale."""
    windows = FreshnessPolicy(CHART_CACHE_SECONDS, CHART_CACHE_SECONDS, CHART_CACHE_SECONDS)
    return CacheKind("points", windows, lambda raw: zlib.compress(raw, ZLIB_LEVEL), _decompress)


class ChartClient:
    """Fetches charts.

    Args:
        upstream: CoinGecko.
        shared: The cache by which replicas share charts. Charts for bulk readers and backfills are not
            shared, since no other caller waits for them.
    """

    def __init__(self, upstream: Upstream, shared: ReadThrough[bytes] | None = None) -> None:
        self._upstream = upstream
        self._shared = shared

    async def fetch(self, request: UpstreamRequest) -> Series:
        """Fetch one chart.

        Raises:
            CoincastError: The upstream failed.
        """
        if self._shared is None or request.priority in (Priority.BULK, Priority.BACKFILL):
            reply = await self._upstream.fetch(request)
            return Series(reply.document, reply.received_at)

        async def fetch(_: Priority) -> FetchResult[bytes]:
            reply = await self._upstream.fetch(request)
            return FetchResult(reply.raw, reply.as_of, reply.seconds)

        answer = await self._shared.get(document_key(request.path, request.query), fetch)
        return Series(parse_json(answer.value), answer.provenance.as_of)


def _decompress(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data, MAX_SERIES_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof or unpacker.unconsumed_tail or unpacker.unused_data:
        raise ValueError("not one whole series of a plausible size")
    orjson.loads(raw)
    return raw


# How long a fill waits for further callers: long enough for simultaneous requests, short compared with a
# fetch.
GATHER_SECONDS = 0.02
# Fills the archive of one coin from a day on, and returns how many candles were added.
Fill = Callable[[date], Awaitable[int]]


@dataclass(slots=True)
class PendingFetch:
    """A fill that has not started, back to the earliest day that its callers need."""

    number: int
    first: date


class FetchCoalescer:
    """Runs one fill at a time for each key, and joins callers that wait for the same key.

    A fill continues if its callers are cancelled.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, PendingFetch] = {}
        self._busy: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._flights: SingleFlight[int, int] = SingleFlight()
        self._numbers = itertools.count()

    async def take(self, key: Hashable, first: date, fill: Fill) -> int:
        """Run a fill back to `first`, or further if another caller needs it.

        Args:
            key: Fills with the same key run one after the other.
            first: The earliest day that is needed.
            fill: Fills the archive from a day on.

        Raises:
            CoincastError: The fill failed.
        """
        turn = self._waiting.get(key)
        if turn is None:
            turn = self._waiting[key] = PendingFetch(next(self._numbers), first)
        turn.first = min(turn.first, first)
        try:
            return await self._flights.do(turn.number, lambda: self._go(key, turn, fill))
        except BeyondPlanReach:
            if turn.first == first:
                raise
        # The plan does not reach the day of another caller, but perhaps that of this one.
        return await self._flights.do(next(self._numbers), lambda: fill(first))

    async def _go(self, key: Hashable, turn: PendingFetch, fill: Fill) -> int:
        await asyncio.sleep(GATHER_SECONDS)
        busy = self._busy.setdefault(key, asyncio.Lock())
        async with busy:
            del self._waiting[key]
            return await fill(turn.first)

    async def aclose(self) -> None:
        """Cancel the fills in flight."""
        await self._flights.aclose()


log = structlog.get_logger(__name__)
FREE_REACH_DAYS = 365
MOST_COINS_REMEMBERED = 5000
# How many days back one call of a free plan has hourly points.
FREE_HOURS_DAYS = HOURLY_DAYS
# The pause between two requests for hours that the upstream does not have.
HOURS_RETRY_SECONDS = 300.0
# If whole candles take at most this many calls, the caller waits for them instead of getting closes first.
MOST_WAITED_CALLS = 2
# The pause between two requests for a closed day that the upstream does not have yet. It applies to coins
# whose newest day is at most LATE_DAYS old; others are requested once a day.
LATE_RETRY_SECONDS = 600.0
LATE_DAYS = 7


class SpotPrices(Protocol):
    """Source of spot prices, with which the newest end of a chart is compared."""

    def last_price(self, pair: tuple[str, str]) -> float | None:
        """Return the newest known price of (coin, currency), or None."""
        ...

    async def witness_price(self, pair: tuple[str, str]) -> float | None:
        """Return a recent price, fetched where none is known; None where none can be had soon."""
        ...

    def contradict(self, pair: tuple[str, str], day: date, close: float) -> None:
        """Drop the price of a pair, which a history up to a day contradicts."""
        ...


@dataclass(frozen=True, slots=True)
class SuspectSpan:
    """A part of a series that nothing confirms yet; both ends in UNIX seconds."""

    first: float
    last: float

    def touches(self, start: float, end: float) -> bool:
        """Return whether a candle from start to end, UNIX seconds, may rest on a point of this part."""
        return self.first <= end + PAST_MIDNIGHT_SECONDS and start <= self.last


@dataclass(slots=True)
class KnownAbsences:
    """Days of one coin that are not requested again for now."""

    # The last closed day; the record is discarded when the next day closes.
    requested_on: date
    # Days that the upstream does not have.
    days: set[date] = field(default_factory=set)
    # Days of which the upstream only has the close.
    bare: set[date] = field(default_factory=set)
    # Days that wait for a second fetch to confirm them, and when (UNIX seconds) they are requested again.
    unconfirmed: dict[date, float] = field(default_factory=dict)
    # Newest days that the upstream does not have yet, and when they are requested again.
    late: dict[date, float] = field(default_factory=dict)

    def paused_days(self, now: float) -> set[date]:
        """Return the days that are not requested now."""
        waiting = {day for day, until in (*self.unconfirmed.items(), *self.late.items()) if now < until}
        return self.days | waiting


class GapFiller:
    """Completes the archive from the upstream, one fill at a time for each coin.

    Args:
        series: Fetches charts.
        archive: The archive of days.
        clock: The upstream's clock.
        quality: The data-quality log.
        reach_days: How many days back the plan has data.
        hourly_chunks: Whether the plan has enough calls to fetch all days with hourly points.
        calls_at_once: The most concurrent calls for one coin.
        hours: The archive of hours; None stores no hours.
        spot: The source of spot prices, with which the newest days are compared.
    """

    def __init__(
        self,
        series: ChartClient,
        archive: Archive,
        clock: DataClock,
        quality: QualityLog,
        *,
        reach_days: int,
        hourly_chunks: bool,
        calls_at_once: int,
        hours: HourlyArchive | None = None,
        spot: SpotPrices | None = None,
    ) -> None:
        self._spot = spot
        self._hours = hours
        # By coin the first day of the last request for hours, and until when (UNIX seconds) it is not
        # repeated.
        self._hours_requested: LRUCache[tuple[str, str], tuple[date, float]] = LRUCache(MOST_COINS_REMEMBERED)
        self._series = series
        self._precedence = CallerPrecedence()
        self._deepener = HistoryDeepener(self.enrich)
        self._archive = archive
        self._clock = clock
        self._quality = quality
        self.reach_days = reach_days
        self._hourly = hourly_chunks
        self._at_once = calls_at_once
        self._absent: LRUCache[tuple[str, str], KnownAbsences] = LRUCache(MOST_COINS_REMEMBERED)
        self._turns = FetchCoalescer()
        self._suspects = ConfirmationTracker()
        # Stored days that a repair doubts more strictly, while it runs.
        self._repairing: dict[tuple[str, str], set[date]] = {}
        # Days in isolated runs, by revision of the archive, because finding them reads the whole history.
        self._judged: LRUCache[tuple[str, str], tuple[int, frozenset[date]]] = LRUCache(MOST_COINS_REMEMBERED)
        # Days that looked implausible but were confirmed by further fetches.
        self._confirmed: LRUCache[tuple[str, str], set[date]] = LRUCache(MOST_COINS_REMEMBERED)
        # Until when unconfirmed hours are not requested again, UNIX seconds.
        self._unconfirmed_hours: LRUCache[tuple[str, str], float] = LRUCache(MOST_COINS_REMEMBERED)

    def use_plan(self, *, reach_days: int, hourly_chunks: bool) -> None:
        """Use another plan from now on.

        Args:
            reach_days: How many days back the plan has data.
            hourly_chunks: Whether the plan has enough calls to fetch all days with hourly points.
        """
        self.reach_days, self._hourly = reach_days, hourly_chunks

    async def missing(self, coin: str, currency: str, first: date) -> list[date]:
        """Return the days from `first` to the last closed one that should be fetched, oldest first.

        They are the missing days and the implausible stored ones, without those that are not requested again
        for now.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            first: The earliest day that is needed.
        """
        last = last_closed_day(self._clock.now())
        absent = self._absences(coin, currency, last).paused_days(self._clock.now())
        start = reachable(first, last + timedelta(days=1), self.reach_days)
        kept = within(await self._archive.read(coin, currency), start, last)
        odd = {day for day in await self.implausible_days(coin, currency) if start <= day <= last}
        return [day for day in sorted({*gaps(kept, start, last), *odd}) if day not in absent]

    async def implausible_days(self, coin: str, currency: str) -> set[date]:
        """Return the stored days that differ tenfold from both sides, or from the days before the newest end.

        Days that a second fetch has confirmed since the start are left out.
        """
        key = (coin, currency)
        kept, revision = await self._archive.read(coin, currency), self._archive.revision(coin, currency)
        judged = self._judged.get(key)
        if judged is None or judged[0] != revision:
            judged = self._judged[key] = (revision, _days(isolated_runs(kept)))
        spot = self._spot.last_price(key) if self._spot is not None else None
        tail = unconfirmed_tail(kept[-TAIL_DAYS - 1 :], spot, stored=True)
        odd = {*judged[1], *(candle.day for candle in tail), *self._repairing.get(key, ())}
        return odd - self._confirmed.get(key, set())

    async def _suspect_for_repair(self, coin: str, currency: str) -> set[date]:
        """Return the stored days that a second fetch is to confirm, more strictly than for every request."""
        kept = await self._archive.read(coin, currency)
        spot = self._spot.last_price((coin, currency)) if self._spot is not None else None
        return {*_days(self._unsupported_runs(kept, spot)), *_days([unsupported_head(kept, RUN_FACTOR)])}

    def seconds_until_confirmation(self, coin: str, currency: str) -> float | None:
        """Return the seconds until the unconfirmed days are requested again, or None without such days."""
        now = self._clock.now()
        held = self._absences(coin, currency, last_closed_day(now)).unconfirmed.values()
        return min((until - now for until in held if now < until), default=None)

    def seconds_until_late_day(self, coin: str, currency: str) -> float | None:
        """Return the seconds until a closed day that the upstream does not have yet is requested again."""
        now = self._clock.now()
        late = self._absences(coin, currency, last_closed_day(now)).late.values()
        return min((until - now for until in late if now < until), default=None)

    async def fill(
        self,
        coin: str,
        currency: str,
        first: date,
        priority: Priority = Priority.HISTORY,
        *,
        closes_first: bool = False,
    ) -> int:
        """Fetch what is missing from `first` on and return how many candles were added.

        Raises the errors of the fetches.

        Args:
            coin: Canonical id.
            currency: Canonical code.
            first: The earliest day that is needed.
            priority: Share of the quota that the calls may use.
            closes_first: Whether closes suffice for now. One call fetches them for all days, and the days are
                completed in the background.
        """
        # Short and long fills are separate: a short one does not wait for a long one, nor get its daily
        # points instead of hourly ones.
        far = (last_closed_day(self._clock.now()) - first).days >= HOURLY_DAYS
        key = (coin, currency, priority, far, closes_first)

        async def fill(day: date) -> int:
            added = await self._fill(coin, currency, day, priority, closes_first=closes_first)
            if closes_first and added:
                self._deepener.submit(coin, currency, day)
            return added

        return await self._turns.take(key, first, fill)

    def takes_many_calls(self, missing: Sequence[date], currency: str) -> bool:
        """Return whether whole candles of these days take more than MOST_WAITED_CALLS calls."""
        today = last_closed_day(self._clock.now()) + ONE_DAY
        return len(plan_calls(missing, today, currency, hourly=self._hourly)) > MOST_WAITED_CALLS

    def is_deepening(self, coin: str, currency: str) -> bool:
        """Return whether days of which only the close is stored are being completed."""
        return self._deepener.is_pending(coin, currency)

    async def wait_until_deep(self, coin: str, currency: str) -> None:
        """Return once no day of a coin is being completed."""
        await self._deepener.wait(coin, currency)

    async def _fill(
        self, coin: str, currency: str, first: date, priority: Priority, *, closes_first: bool
    ) -> int:
        hourly = self._hourly and not closes_first
        try:
            return await self._fill_once(coin, currency, first, priority, hourly=hourly)
        except BeyondPlanReach as error:
            if self.reach_days <= FREE_REACH_DAYS:
                raise
            # The refusal shows that the plan reaches less far than assumed. It happens once.
            log.warning("history_beyond_plan", reason=error.message, reach_days=FREE_REACH_DAYS)
            self.reach_days = FREE_REACH_DAYS
            return await self._fill_once(coin, currency, first, priority, hourly=hourly)

    async def _fill_once(
        self, coin: str, currency: str, first: date, priority: Priority, *, hourly: bool
    ) -> int:
        began = self._clock.now()
        last = last_closed_day(began)
        # One call brings a quarter as cheaply as a day, and hourly points with it: a look for the newest day
        # leaves whole candles behind instead of a stub.
        first = min(first, last - timedelta(days=HOURLY_DAYS - 1))
        missing = await self.missing(coin, currency, first)
        calls = plan_calls(missing, last + timedelta(days=1), currency, hourly=hourly)
        turn = asyncio.Semaphore(self._at_once)
        stop = asyncio.Event()

        async def one(call: Call) -> int:
            async with turn:
                if stop.is_set():
                    return 0
                try:
                    added, found_any = await self._call(coin, currency, call, priority)
                except CoincastError:
                    stop.set()
                    raise
                if not found_any:
                    # The newest spans are fetched first, so a span without points lies before the coin's
                    # first day.
                    stop.set()
                return added

        results = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
        await self._flush(coin, currency)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        # Days that this fill found suspect are not absent, however long ago they are.
        unconfirmed = self._absences(coin, currency, last).unconfirmed
        requested = [day for day in missing if unconfirmed.get(day, 0.0) <= began]
        self._note_absent(coin, currency, requested, await self._archive.read(coin, currency), last)
        return sum(result for result in results if isinstance(result, int))

    async def enrich(self, coin: str, currency: str, first: date) -> int:
        """Fetch hourly points for days that only have a close, at the lowest priority.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            first: The earliest day to complete.

        Returns:
            How many candles were added or have gained figures.
        """
        last = last_closed_day(self._clock.now())
        start = reachable(first, last + timedelta(days=1), self.reach_days)
        tried = self._absences(coin, currency, last).bare
        bare = [c.day for c in await self._archive.read(coin, currency) if not c.is_whole and c.day >= start]
        bare = [day for day in bare if day not in tried]
        added = 0
        for call in span_calls(bare, currency):
            added += (await self._call(coin, currency, call, Priority.BACKFILL))[0]
            await self._flush(coin, currency)
            tried.update(day for day in bare if call.first <= day <= call.last)
        return added

    async def keep(self, coin: str, currency: str, chart: Any, received_at: float) -> int:
        """Store the closed days of a sanitised `market_chart` that was fetched for the mirror.

        A close without high and low is only stored if `fill` would not get more, since the day would then
        count as present. For the same reason `ohlc` (without volumes, and with four-day candles beyond 30
        days) and single days of `coins/{id}/history` are not stored.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            chart: The sanitised document.
            received_at: When it was received, UNIX seconds on the upstream's clock.

        Returns:
            How many days are new or have gained figures.
        """
        last = last_closed_day(self._clock.now())
        if not chart["prices"]:
            return 0
        points, _ = clean_series(chart, received_at)
        built = build_candles(points, last)
        suspect_spans = await self._find_suspect_spans(coin, currency, points)
        # Hours of another scale would stand beside the stored ones; `fill` finds out which are true.
        if restatement(await self._archive.read(coin, currency), built) is None:
            await self._keep_hours(coin, currency, points, suspect_spans, flush=True)
        if not await self._may_be_richer(coin, currency, chart["prices"], last):
            return 0
        candles = [c for c in built if c.is_whole or self._only_closes(c.day, last)]
        covered = {candle.day for candle in candles}
        good = await self._plausible_candles(coin, currency, candles, covered, suspect_spans)
        return await self._archive.add(coin, currency, good, at=self._clock.now())

    async def fill_hours(
        self, coin: str, currency: str, first: int, priority: Priority, *, newest: int | None = None
    ) -> int:
        """Fetch the hours that the archive lacks, and return how many were added.

        Hours that the upstream did not have are requested at most every five minutes.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            first: The first hour that is needed, UNIX seconds.
            priority: The priority of the calls.
            newest: The last hour that is needed, UNIX seconds; by default the last closed one. A reader of a
                past moment does not cause a call for later hours.
        """
        if self._hours is None:
            return 0
        now = self._clock.now()
        closed = last_closed_hour(now)
        last = closed if newest is None else min(newest, closed)
        kept = {candle.start for candle in await self._hours.read(coin, currency)}
        oldest = first if self._hourly else max(first, closed - FREE_HOURS_DAYS * DAY_SECONDS)
        lacking = [start for start in range(oldest, last + 1, HOUR_SECONDS) if start not in kept]
        since, until = self._hours_requested.get((coin, currency), (day_of(now), 0.0))
        if not lacking or (now < until and day_of(lacking[0]) >= since):
            return 0
        key = (coin, currency, priority, "hours")
        return await self._turns.take(
            key, day_of(lacking[0]), lambda day: self._fetch_hours(coin, currency, day, priority)
        )

    async def _fetch_hours(self, coin: str, currency: str, first: date, priority: Priority) -> int:
        today = day_of(self._clock.now())
        # One call for a quarter costs as much as one for a day.
        start = reachable(min(first, today - timedelta(days=FREE_HOURS_DAYS)), today, self.reach_days)
        days = [start + timedelta(days=step) for step in range((today - start).days + 1)]
        calls = plan_calls(days, today, currency, hourly=True)
        before = len(await self._hours.read(coin, currency)) if self._hours else 0
        try:
            for call in calls:
                _, found_any = await self._call(coin, currency, call, priority)
                if not found_any:
                    break
        finally:
            await self._flush(coin, currency)
        pause = self.seconds_until_hours_confirmation(coin, currency) or HOURS_RETRY_SECONDS
        self._hours_requested[coin, currency] = (start, self._clock.now() + pause)
        after = len(await self._hours.read(coin, currency)) if self._hours else 0
        return max(0, after - before)

    async def _find_suspect_spans(
        self, coin: str, currency: str, points: Sequence[Point]
    ) -> list[SuspectSpan]:
        """Return the parts of a series on a level of their own that no later fetch has confirmed yet.

        Args:
            coin: Canonical id.
            currency: Canonical code.
            points: Points in order of time.
        """
        series = [(point.at, point.price) for point in points]
        ends = list(isolated_spans(series, RUN_FACTOR))
        start = tail_start(series, await self._witness(coin, currency, series))
        if start is not None:
            ends.append((start, len(series)))
        if head := head_end(series):
            ends.append((0, head))
        found, now = [], self._clock.now()
        for begin, end in ends:
            at, price = series[begin]
            # Points are stamped a few minutes apart in each fetch.
            name = (coin, f"{currency} points from hour {at // HOUR_SECONDS:.0f} on")
            if not self._suspects.settled(name, price, now):
                found.append(SuspectSpan(at, series[end - 1][0] if end < len(series) else float("inf")))
        return found

    async def _witness(self, coin: str, currency: str, series: Sequence[tuple[float, float]]) -> float | None:
        """Return the spot price with which the newest end of a series is compared.

        It is fetched only where the series has a step that needs support.
        """
        if self._spot is None:
            return None
        if not needs_witness(series):
            return self._spot.last_price((coin, currency))
        return await self._spot.witness_price((coin, currency))

    async def _keep_hours(
        self,
        coin: str,
        currency: str,
        points: Sequence[Point],
        suspect_spans: Sequence[SuspectSpan],
        *,
        flush: bool,
    ) -> None:
        if self._hours is None:
            return
        now = self._clock.now()
        newest = last_closed_hour(now)
        hours = build_hours(points, newest)
        stored = await self._hours.read(coin, currency)
        known = {hour.start: hour for hour in (*hours[-TAIL_HOURS - 1 :], *stored[-TAIL_HOURS - 1 :])}
        series = [(float(start), known[start].close) for start in sorted(known)]
        begin = tail_start(series, await self._witness(coin, currency, series))
        good = [
            h for h in hours if not any(s.touches(h.start, h.start + HOUR_SECONDS) for s in suspect_spans)
        ]
        if begin is not None:
            at, price = series[begin]
            name = (coin, f"{currency} from the hour {at:.0f} on")
            if not self._suspects.settled(name, price, now):
                good = [hour for hour in good if hour.start < at]
        if len(good) < len(hours):
            metrics.QUARANTINED.labels(reason="seam_jump").inc(len(hours) - len(good))
            self._unconfirmed_hours[coin, currency] = now + CONFIRMED_AFTER_SECONDS
        # All steps among these hours are confirmed, by the spot price or by a second fetch.
        await self._hours.add(coin, currency, good, newest, confirmed=True, flush=flush, at=now)

    async def _flush(self, coin: str, currency: str) -> None:
        await self._archive.flush(coin, currency)
        if self._hours is not None:
            await self._hours.flush(coin, currency)

    def seconds_until_hours_confirmation(self, coin: str, currency: str) -> float | None:
        """Return the seconds until the unconfirmed newest hours are requested again, or None without such."""
        left = self._unconfirmed_hours.get((coin, currency), 0.0) - self._clock.now()
        return left if left > 0 else None

    async def _may_be_richer(
        self, coin: str, currency: str, prices: Sequence[Sequence[float]], last: date
    ) -> bool:
        """Return whether a chart has a missing day, or hourly points of a day that only has a close."""
        first = day_of(prices[0][0] / 1000)
        hourly = (last - first).days <= HOURLY_DAYS
        kept = within(await self._archive.read(coin, currency), first, last)
        return bool(gaps(kept, first, last)) or (hourly and not all(candle.is_whole for candle in kept))

    def _only_closes(self, day: date, last: date) -> bool:
        return not self._hourly and (last - day).days > HOURLY_DAYS

    async def _call(self, coin: str, currency: str, call: Call, priority: Priority) -> tuple[int, bool]:
        request = UpstreamRequest(f"coins/{coin}/{call.path}", call.query, "series", priority)
        if priority >= Priority.BULK:
            await self._precedence.give_way()
            return await self._store_series(coin, currency, call, await self._series.fetch(request))
        with self._precedence.caller():
            return await self._store_series(coin, currency, call, await self._series.fetch(request))

    async def _store_series(self, coin: str, currency: str, call: Call, reply: Series) -> tuple[int, bool]:
        """Add the candles of a series to the archive; return how many, and whether it had any point."""
        points, findings = clean_series(reply.document, reply.received_at)
        self._report(coin, currency, findings)
        suspect_spans = await self._find_suspect_spans(coin, currency, points)
        candles = build_candles(points, last_closed_day(self._clock.now()))
        # Checked before the hours are stored: hours of another scale must not be stored beside the present
        # ones.
        restated = await self._check_restated(coin, currency, candles, call)
        if restated != 0:
            await self._keep_hours(coin, currency, points, suspect_spans, flush=False)
        if restated is not None:
            return restated, bool(points)
        wanted = [candle for candle in candles if call.first <= candle.day <= call.last]
        covered = days_between(call.first, call.last)
        good = await self._plausible_candles(coin, currency, wanted, covered if points else (), suspect_spans)
        added = await self._archive.add(coin, currency, good, flush=False, at=self._clock.now())
        return added, bool(points)

    async def _check_restated(
        self, coin: str, currency: str, candles: Sequence[Candle], call: Call
    ) -> int | None:
        """Compare days that were fetched again with the stored ones.

        Returns:
            None if the days were not multiplied by a factor. 0 if they were and this is not confirmed yet, so
            that the new days and hours are not stored. Otherwise the whole history was fetched again, and the
            result is how many days differ.
        """
        # Days that are suspect already say nothing about the others.
        odd = await self.implausible_days(coin, currency)
        kept = await self._archive.read(coin, currency)
        times = restatement([candle for candle in kept if candle.day not in odd], candles)
        name, now = (coin, f"{currency} restated"), self._clock.now()
        if times is None:
            self._suspects.forget(name)
            return None
        last = last_closed_day(now)
        if not self._suspects.confirmed(name, times, now):
            metrics.QUARANTINED.labels(reason="restated").inc()
            self._quality.note(coin, currency, f"past days came multiplied by {times:.6g}, not confirmed yet")
            unconfirmed = self._absences(coin, currency, last).unconfirmed
            unconfirmed.update(
                (day, now + CONFIRMED_AFTER_SECONDS) for day in days_between(call.first, call.last)
            )
            self._unconfirmed_hours[coin, currency] = now + CONFIRMED_AFTER_SECONDS
            return 0
        return await self.refetch(coin, currency, Priority.HISTORY)

    async def refetch(self, coin: str, currency: str, priority: Priority = Priority.BACKFILL) -> int:
        """Fetch a whole history again, replace the stored one, and return how many days differ.

        The stored history, which may have days that the plan no longer reaches, is saved as a revision. So
        are stored hours that contradict the new days; they are dropped, and the fetched hours are stored.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            priority: The priority of the calls.

        Raises:
            CoincastError: A part could not be fetched or is not confirmed; then nothing is replaced.
        """
        now = self._clock.now()
        last = last_closed_day(now)
        kept = await self._archive.read(coin, currency)
        first = kept[0].day if kept else last - timedelta(days=FREE_REACH_DAYS - 1)
        start = reachable(first, last + timedelta(days=1), self.reach_days)
        days = days_between(start, last)
        calls = plan_calls(days, last + timedelta(days=1), currency, hourly=self._hourly)
        if not self._hourly and len(days) > HOURLY_DAYS:
            # Daily points have no high and low; one more call fetches those of the newest days.
            calls += plan_calls(days[-HOURLY_DAYS:], last + timedelta(days=1), currency, hourly=True)
        fetched: list[Candle] = []
        series: list[Sequence[Point]] = []
        suspect_spans: list[SuspectSpan] = []
        for call in calls:
            request = UpstreamRequest(f"coins/{coin}/{call.path}", call.query, "series", priority)
            reply = await self._series.fetch(request)
            points, findings = clean_series(reply.document, reply.received_at)
            self._report(coin, currency, findings)
            series.append(points)
            suspect_spans += await self._find_suspect_spans(coin, currency, points)
            fetched = merge_candles(fetched, build_candles(points, last))[0]
        if not fetched:
            raise NotFound(f"CoinGecko has no day of {coin} in {currency}", field="id")
        await self._check_refetched(coin, currency, kept, fetched)
        if suspect_spans:
            metrics.QUARANTINED.labels(reason="seam_jump").inc(len(suspect_spans))
            raise UnconfirmedData(
                f"the stored history of {coin} was not replaced: prices from"
                f" {day_of(suspect_spans[0].first)} on are far off those beside them, and not confirmed yet",
                retry_after_seconds=CONFIRMED_AFTER_SECONDS,
            )
        changed = await self._archive.replace(coin, currency, fetched, now)
        dropped = sum(candle.day < fetched[0].day for candle in kept)
        if changed:
            text = f"the whole history was fetched again: {changed} days differ"
            aside = f", {dropped} earlier days are in the revision" if dropped else ""
            self._quality.remark(coin, currency, text + aside)
            metrics.RESTATED.inc()
        self._absent.pop((coin, currency), None)
        await self._replace_hours(coin, currency, fetched, series)
        return changed

    async def _replace_hours(
        self, coin: str, currency: str, days: Sequence[Candle], series: Sequence[Sequence[Point]]
    ) -> None:
        """Drop the stored hours that contradict new days, and store the hours of the fetched series.

        The oldest series is stored first, since each hour is compared with the one before it.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            days: The new days.
            series: The points that the days were built from, one sequence for each call.
        """
        if self._hours is None:
            return
        odd = contradicting_hours(await self._hours.read(coin, currency), days)
        if odd:
            await self._hours.remove(coin, currency, {hour.start for hour in odd}, self._clock.now())
            text = f"{len(odd)} stored hours contradicted the days that were fetched again and were dropped"
            self._quality.remark(coin, currency, text)
        self._hours_requested.pop((coin, currency), None)
        self._unconfirmed_hours.pop((coin, currency), None)
        for points in sorted(series, key=lambda points: points[0].at if points else 0.0):
            await self._keep_hours(coin, currency, points, (), flush=True)

    async def _check_refetched(
        self, coin: str, currency: str, kept: Sequence[Candle], fetched: Sequence[Candle]
    ) -> None:
        """Check the days of a new history that differ tenfold from their neighbours.

        Raises:
            UnconfirmedData: Neither the stored history nor an earlier fetch confirms them.
        """
        closes = {candle.day: candle.close for candle in kept}
        spot = await self._witness(coin, currency, closes_at(fetched))
        for run in self._unsupported_runs(fetched, spot):
            known = (c.day in closes and ratio(c.close, closes[c.day]) <= AGREEMENT_FACTOR for c in run)
            name = (coin, f"{currency} from {run[0].day} on")
            if all(known) or self._suspects.confirmed(name, run[0].close, self._clock.now()):
                self._trust(coin, currency, (candle.day for candle in run))
                continue
            metrics.QUARANTINED.labels(reason="seam_jump").inc(len(run))
            raise UnconfirmedData(
                f"the stored history of {coin} was not replaced: {len(run)} new days from {run[0].day} on are"
                " far off those beside them, and not confirmed yet",
                retry_after_seconds=CONFIRMED_AFTER_SECONDS,
            )

    async def repair(self, report: RepairReport, *, dry_run: bool) -> None:
        """Check one coin's archive; quarantine implausible days and hours, and fetch them again.

        Days that the plan does not reach are quarantined without a fetch. Quarantined candles are in a
        revision.

        Args:
            report: The coin and currency; the results are added to it.
            dry_run: Whether to report only.

        Raises:
            CoincastError: A part could not be fetched; then none of its days is quarantined.
        """
        coin, currency = report.id, report.vs_currency
        # Days that were confirmed by earlier fetches are checked again, too.
        self._confirmed.pop((coin, currency), None)
        kept = await self._archive.read(coin, currency)
        odd = await self.implausible_days(coin, currency) | await self._suspect_for_repair(coin, currency)
        hours = await self._implausible_hours(coin, currency)
        report.implausible_days, report.implausible_hours = sorted(odd), len(hours)
        ranges = implausible_ranges([candle for candle in kept if candle.day not in odd])
        report.implausible_ranges = [candle.day for candle in ranges]
        if dry_run:
            return
        await self._repair_ranges(report, ranges)
        if not (odd or hours):
            return
        kept = await self._archive.read(coin, currency)
        last = last_closed_day(self._clock.now())
        start = reachable(min(odd, default=last), last + timedelta(days=1), self.reach_days)
        wanted = sorted(day for day in odd if day >= start)
        # Spans of hourly points give complete candles, and the neighbours needed for the check.
        self._repairing[coin, currency] = odd
        try:
            for call in span_calls(wanted, currency):
                await self._call(coin, currency, call, Priority.BACKFILL)
            await self._quarantine(coin, currency, odd - set(wanted))
        finally:
            del self._repairing[coin, currency]
            await self._flush(coin, currency)
        before = {candle.day: candle for candle in kept}
        after = {candle.day: candle for candle in await self._archive.read(coin, currency)}
        same = {
            day for day in odd & set(after) if ratio(after[day].close, before[day].close) <= AGREEMENT_FACTOR
        }
        report.confirmed_days = len(same)
        report.days_put_aside = len(odd - same)
        report.days_fetched = len((odd - same) & set(after))
        if hours and self._hours is not None:
            await self._hours.remove(coin, currency, hours, self._clock.now())
            self._hours_requested.pop((coin, currency), None)
            report.hours_fetched = await self.fill_hours(coin, currency, min(hours), Priority.BACKFILL)

    async def _repair_ranges(self, report: RepairReport, ranges: Sequence[Candle]) -> None:
        """Fetch the days with implausible highs and lows again.

        A range that the source repeats is taken as right, since thin order books have such wicks. Otherwise
        it is replaced, or dropped; the close stays.
        """
        if not ranges:
            return
        coin, currency = report.id, report.vs_currency
        last = last_closed_day(self._clock.now())
        start = reachable(ranges[0].day, last + timedelta(days=1), self.reach_days)
        fresh: dict[date, Candle] = {}
        for call in span_calls([c.day for c in ranges if c.day >= start], currency):
            request = UpstreamRequest(f"coins/{coin}/{call.path}", call.query, "series", Priority.BACKFILL)
            reply = await self._series.fetch(request)
            points, findings = clean_series(reply.document, reply.received_at)
            self._report(coin, currency, findings)
            fresh |= {candle.day: candle for candle in build_candles(points, last)}
        mended: dict[date, Candle] = {}
        for old in ranges:
            new = fresh.get(old.day)
            if new is not None and _same_range(old, new):
                report.ranges_confirmed += 1
                continue
            bare = replace(old, open=None, high=None, low=None)
            whole = new is not None and new.is_whole and ratio(new.close, old.close) <= AGREEMENT_FACTOR
            taken = replace(new, close=old.close, received_at=old.received_at) if new and whole else bare
            mended[old.day] = bare if implausible_ranges([taken]) else taken
            report.ranges_fetched += mended[old.day].is_whole
        report.ranges_put_aside = len(mended)
        if mended:
            stored = await self._archive.read(coin, currency)
            changed = [mended.get(candle.day, candle) for candle in stored]
            await self._archive.replace(coin, currency, changed, self._clock.now())
            metrics.QUARANTINED.labels(reason="stored_false").inc(len(mended))
            text = f"the highs and lows of {len(mended)} stored days from {min(mended)} on were false"
            self._quality.note(coin, currency, text, points=len(mended))

    async def _implausible_hours(self, coin: str, currency: str) -> set[int]:
        """Return the starts of stored hours that are far off the days around them."""
        if self._hours is None:
            return set()
        odd = await self.implausible_days(coin, currency)
        closes = {c.day: c.close for c in await self._archive.read(coin, currency) if c.day not in odd}
        spot = self._spot.last_price((coin, currency)) if self._spot is not None else None
        today = day_of(self._clock.now())
        if spot is not None:
            closes.setdefault(today, spot)
        found = set()
        for hour in await self._hours.read(coin, currency):
            day = day_of(hour.start)
            near = [closes[d] for d in (day - ONE_DAY, day, day + ONE_DAY) if d in closes]
            prices = [price for price in (hour.close, hour.high, hour.low) if price is not None]
            if near and any(all(ratio(price, close) >= RUN_FACTOR for close in near) for price in prices):
                found.add(hour.start)
        return found

    async def _quarantine(self, coin: str, currency: str, days: Collection[date]) -> None:
        """Remove days from the archive, and save the former history as a revision."""
        if not days:
            return
        kept = await self._archive.read(coin, currency)
        left = [candle for candle in kept if candle.day not in days]
        await self._archive.replace(coin, currency, left, self._clock.now())
        metrics.QUARANTINED.labels(reason="stored_false").inc(len(days))
        text = f"{len(days)} stored days from {min(days)} on were false and quarantined"
        self._quality.note(coin, currency, text, points=len(days))

    async def _plausible_candles(
        self,
        coin: str,
        currency: str,
        new: Sequence[Candle],
        covered: Collection[date],
        suspect_spans: Sequence[SuspectSpan] = (),
    ) -> list[Candle]:
        """Return the new candles that are plausible or confirmed by repeated fetches.

        The archive and the new candles are checked together. Implausible stored days that the fetch
        contradicts are quarantined first, since the right days would look false beside them. Unconfirmed new
        days are requested again after two minutes.

        Args:
            coin: Canonical id.
            currency: Canonical code.
            new: Candles in order of days.
            covered: The days that the fetch would have brought if the source had them.
            suspect_spans: Parts of the series, of which the candles are made, that wait for confirmation.
        """
        await self._drop_false_days(coin, currency, new, covered)
        now = self._clock.now()
        unconfirmed = self._absences(coin, currency, last_closed_day(now)).unconfirmed
        aside = await self._unconfirmed_days(coin, currency, new)
        for candle in new:
            start = midnight(candle.day)
            if any(span.touches(start, start + DAY_SECONDS) for span in suspect_spans):
                aside.add(candle.day)
        rest = [candle for candle in new if candle.day not in aside]
        confirmed = self._confirmed.get((coin, currency), set())
        kept = await self._archive.read(coin, currency)
        spot = self._spot.last_price((coin, currency)) if self._spot is not None else None
        for jump in jumps(kept, rest):
            if confirmed.issuperset(jump.days):
                continue
            newest = jump.days[0] > kept[-1].day
            if newest and spot and ratio(spot, jump.edge.close) < ratio(spot, kept[-1].close):
                continue
            name = (coin, f"{currency} on {jump.edge.day}")
            if not self._suspects.confirmed(name, jump.edge.close, now):
                aside.update(jump.days)
        if aside:
            metrics.QUARANTINED.labels(reason="seam_jump").inc(len(aside))
            text = f"{len(aside)} days far off those beside them, not confirmed yet"
            self._quality.note(coin, currency, text, points=len(aside))
            unconfirmed.update(dict.fromkeys(aside, now + CONFIRMED_AFTER_SECONDS))
        return [candle for candle in new if candle.day not in aside]

    async def _drop_false_days(
        self, coin: str, currency: str, new: Sequence[Candle], covered: Collection[date]
    ) -> None:
        """Quarantine implausible stored days that a new fetch does not confirm."""
        odd = await self.implausible_days(coin, currency) & {*covered, *(candle.day for candle in new)}
        if not odd:
            return
        kept, again = await self._archive.read(coin, currency), {candle.day: candle for candle in new}
        same = {
            candle.day
            for candle in kept
            if candle.day in odd
            and candle.day in again
            and ratio(candle.close, again[candle.day].close) <= AGREEMENT_FACTOR
        }
        self._trust(coin, currency, same)
        await self._quarantine(coin, currency, odd - same)

    async def _unconfirmed_days(self, coin: str, currency: str, new: Sequence[Candle]) -> set[date]:
        """Return the new days that neither neighbours, a spot price nor a second fetch confirm."""
        kept = await self._archive.read(coin, currency)
        series, _ = merge_candles(kept, new)
        spot = await self._witness(coin, currency, closes_at(series))
        fresh, unconfirmed = {candle.day for candle in new}, set()
        runs = self._unsupported_runs(series, spot)
        left = [candle for candle in series if all(candle not in run for run in runs)]
        if spot is not None and left and self._contradicted(left[-1], spot):
            # One of the two is false, and nothing says which: neither is served as it is.
            if not kept or (left[-1].day - kept[-1].day).days > TAIL_DAYS:
                runs.append([candle for candle in left if candle.day in fresh])
            if self._spot is not None:
                self._spot.contradict((coin, currency), left[-1].day, left[-1].close)
        for run in runs:
            name = (coin, f"{currency} from {run[0].day} on")
            days = {candle.day for candle in run} & fresh
            if days <= self._confirmed.get((coin, currency), set()):
                continue
            if self._suspects.confirmed(name, run[0].close, self._clock.now()):
                self._trust(coin, currency, days)
            else:
                unconfirmed |= days
        return unconfirmed

    def _contradicted(self, newest: Candle, spot: float) -> bool:
        """Return whether a spot price is far off the newest close, and that close is recent."""
        recent = newest.day >= last_closed_day(self._clock.now()) - ONE_DAY
        return recent and ratio(spot, newest.close) >= RUN_FACTOR

    def _unsupported_runs(self, series: Sequence[Candle], spot: float | None) -> list[list[Candle]]:
        """Return the runs of days on an isolated or unconfirmed price level."""
        tail, head = unconfirmed_tail(series, spot), unsupported_head(series)
        return [*isolated_runs(series, RUN_FACTOR), *([tail] if tail else []), *([head] if head else [])]

    def _trust(self, coin: str, currency: str, days: Iterable[date]) -> None:
        self._confirmed.setdefault((coin, currency), set()).update(days)

    def _report(self, coin: str, currency: str, findings: CleaningReport) -> None:
        if findings.duplicates:
            self._quality.duplicates(coin, currency, findings.duplicates)
        if findings.unsorted:
            self._quality.remark(coin, currency, "a series was not in order of time and was sorted")
        if findings.unequal:
            self._quality.remark(
                coin, currency, "the arrays of a series were of unequal length and were joined on time"
            )
        for reason, count in findings.quarantined.items():
            metrics.QUARANTINED.labels(reason=reason).inc(count)
            self._quality.note(coin, currency, f"{count} points of a series: {reason}", points=count)

    def _absences(self, coin: str, currency: str, today: date) -> KnownAbsences:
        found = self._absent.get((coin, currency))
        if found is None or found.requested_on != today:
            found = self._absent[coin, currency] = KnownAbsences(today)
        return found

    def _note_absent(
        self, coin: str, currency: str, requested: Sequence[date], candles: Sequence[Candle], today: date
    ) -> None:
        have = {candle.day for candle in candles}
        absences, now = self._absences(coin, currency, today), self._clock.now()
        absent = [day for day in requested if day not in have]
        newest = candles[-1].day if candles else None
        if newest is not None and (today - newest).days <= LATE_DAYS:
            # The upstream sometimes publishes a day late, so it is requested again soon.
            absences.late = {day: now + LATE_RETRY_SECONDS for day in absent if day > newest}
            absent = [day for day in absent if day <= newest]
        absences.days.update(absent)

    async def aclose(self) -> None:
        """Cancel the fills in flight."""
        await self._deepener.aclose()
        await self._turns.aclose()


def _days(runs: Iterable[Sequence[Candle]]) -> frozenset[date]:
    return frozenset(candle.day for run in runs for candle in run)


def _same_range(old: Candle, new: Candle) -> bool:
    """Return whether the high and low of two candles of a day agree within a factor of two."""
    pairs = ((old.high, new.high), (old.low, new.low))
    return all(
        a is not None and b is not None and min(a, b) > 0 and ratio(a, b) <= AGREEMENT_FACTOR
        for a, b in pairs
    )
