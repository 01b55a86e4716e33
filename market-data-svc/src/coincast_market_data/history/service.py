"""Serve histories from the archive, completed from the upstream, and report what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil

from coincast_chassis.clock import Clock, SystemClock
from coincast_chassis.errors import CoincastError, InvalidInput, NotFound, Unavailable
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.revisions import PastCandles
from coincast_market_data.archive.store import Archive
from coincast_market_data.cache.read_through import NegativeCache, late_error, wait_budget_seconds
from coincast_market_data.coingecko.error_mapping import BeyondPlanReach
from coincast_market_data.domain import Candle, Completeness, History, HourlyCandle, Provenance, Source
from coincast_market_data.history.candle_builder import (
    DAY_SECONDS,
    HOUR_SECONDS,
    SETTLING,
    SETTLING_SECONDS,
    day_of,
    gaps,
    last_closed_day,
    last_closed_hour,
    midnight,
    within,
)
from coincast_market_data.history.continuity import contradicting_hours
from coincast_market_data.history.gap_filler import HOURLY_DAYS, GapFiller
from coincast_market_data.history.sparkline import WeeklySparklines
from coincast_market_data.identifiers import canonical_currency, canonical_id, echo
from coincast_market_data.ports import CallQueue, CoinDirectory, DataClock, NoCallQueue, Priority

MAX_DAYS = 10_000
MAX_MISSING = 100
CHUNK_CANDLES = 1000
# How long a history that the upstream refuses or does not have is not requested again.
REFUSED_SECONDS = 60.0
# The `retry_after_seconds` of a partial history if the failure has none.
RETRY_PARTIAL_SECONDS = 10.0
IN_DOUBT = "days far off those beside them wait for a second fetch to confirm them"
RANGES_PENDING = "highs and lows of {days} days are being fetched"
HOURS_CONTRADICT = "the hours are far off the days of the same time, and neither is confirmed yet"
HOURS_IN_DOUBT = "hours far off those before them wait for a second fetch to confirm them"
# The newest hours are compared with the days: a contradiction that is not mended reaches to the end.
CHECKED_SECONDS = 3 * DAY_SECONDS
# If at most this many days are missing, the caller waits only briefly and gets the stored days.
FEW_DAYS = 7
# How long a caller waits for the histories of all coins for which a sparkline may be returned instead.
WEEK_SECONDS = 1.5
# The beginning of the reason in a reply from a sparkline.
WEEK_ONLY = "only the last week is here for now, from the hourly prices of CoinGecko's market table"


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a history that is requested: the first and last moment at which a candle may start.

    Args:
        first: UNIX seconds, inclusive; None means no limit.
        last: UNIX seconds, inclusive; None means no limit.

    Raises:
        InvalidInput: The last moment lies before the first.
    """

    first: float | None = None
    last: float | None = None

    def __post_init__(self) -> None:
        if self.first is not None and self.last is not None and self.last < self.first:
            raise InvalidInput("to_time must not lie before from_time", field="to_time")

    def days_back(self, days: int, moment: float, *, hourly: bool) -> int:
        """Return how many days back a history must reach to include the span.

        Args:
            days: The requested number of days, which applies if the span has no first moment. It counts back
                from the last moment of the span.
            moment: The end of the history, UNIX seconds, from which its days count back.
            hourly: Whether it is a history of hours, whose days count back from the last moment of the span.
        """
        end = moment if self.last is None else min(self.last, moment)
        if self.first is not None:
            back = ceil(((end if hourly else moment) - self.first) / DAY_SECONDS) + 1
        elif self.last is not None and not hourly:
            back = days + max(0, (last_closed_day(moment) - day_of(end)).days)
        else:
            return days
        return max(1, min(MAX_DAYS, back))

    def cut(self, history: History) -> History:
        """Return a history with only the candles that start within the span.

        Raises:
            NotFound: No candle starts within the span.
        """
        if self.first is None and self.last is None:
            return history
        first = float("-inf") if self.first is None else self.first
        last = float("inf") if self.last is None else self.last
        hours = history.hours and [c for c in history.hours if first <= c.start <= last]
        candles = [c for c in history.candles if first <= midnight(c.day) <= last]
        if not candles and not hours:
            raise NotFound(
                f"{history.id} has no candle in {history.vs_currency} in that span", field="from_time"
            )
        missing = [day for day in history.missing_days if first <= midnight(day) <= last]
        return replace(history, candles=candles, hours=hours, missing_days=missing)


class HistoryService:
    """Serves the daily and hourly candles of one coin, closed days and hours only.

    Args:
        archive: The archive of days.
        filler: Completes the archive from the upstream.
        clock: The upstream's clock.
        sandbox: Whether the upstream is a sandbox.
        directory: The coins and currencies that CoinGecko lists.
        monotonic: Measures waits.
        hours: The archive of hours.
        queue: The calls that wait for the rate limit.
        sparklines: The source of weekly sparklines.
    """

    def __init__(
        self,
        archive: Archive,
        filler: GapFiller,
        clock: DataClock,
        *,
        sandbox: bool,
        directory: CoinDirectory,
        monotonic: Clock | None = None,
        hours: HourlyArchive | None = None,
        queue: CallQueue | None = None,
        sparklines: WeeklySparklines | None = None,
    ) -> None:
        self._queue = queue or NoCallQueue()
        self._sparklines = sparklines
        self._monotonic = monotonic or SystemClock()
        self._hours = hours
        self._archive = archive
        self._filler = filler
        self._clock = clock
        self._sandbox = sandbox
        self._directory = directory
        self._refused: NegativeCache[tuple[str, str]] = NegativeCache(self._monotonic, REFUSED_SECONDS)

    def now(self) -> float:
        """Return the upstream's time, UNIX seconds."""
        return self._clock.now()

    async def fetch_sparklines(self, coins: Sequence[str], currency: str) -> None:
        """Fetch the sparklines of coins without a stored day, if there are enough of them for a call."""
        code = currency.strip().lower() or "usd"
        absent = [coin for coin in coins if not self._archive.holds(coin, code)]
        if self._sparklines is not None and absent:
            await self._sparklines.fetch(absent, code)

    async def wait_for_sparklines(self, fetch: asyncio.Task[None]) -> float:
        """Wait for a fetch of sparklines.

        Args:
            fetch: The task of `fetch_sparklines`.

        Returns:
            Monotonic seconds until which to wait for the histories of the coins, before their sparklines are
            returned instead.
        """
        await asyncio.wait([fetch], timeout=min(WEEK_SECONDS, wait_budget_seconds(fallback=False) / 2))
        seconds = min(WEEK_SECONDS, wait_budget_seconds(fallback=False) / 2)
        return self._monotonic.monotonic() + seconds

    async def get(
        self,
        coin: str,
        currency: str,
        days: int,
        max_age_seconds: float | None = None,
        priority: Priority = Priority.HISTORY,
        *,
        known_at: float | None = None,
        week_after: float | None = None,
        closes_first: bool = False,
    ) -> History:
        """Return the last closed days of a coin, newest last; if there are fewer, the history states why.

        Args:
            coin: The id of the coin.
            currency: The code of the currency.
            days: The number of closed days.
            max_age_seconds: The maximum accepted age of the newest day; None for any.
            priority: The priority of upstream calls.
            known_at: A past moment, UNIX seconds. The history is returned as it was known then: days count
                back from the newest one that was closed, later days are left out, and later restatements are
                undone. Only a coin without a stored day is fetched.
            week_after: Monotonic seconds until which to wait for the fetch of a coin without a stored day,
                before the week of its sparkline is returned; None waits without this limit.
            closes_first: Whether closes suffice at first, where whole days take many calls; those follow in
                the background.

        Raises:
            InvalidInput: An argument is not valid.
            NotFound: The coin does not exist or has no closed day.
            Unavailable: Nothing is stored and nothing could be fetched, or the newest day is too old.
        """
        coin, currency = canonical_id(coin), canonical_currency(currency)
        self._directory.check_currency(currency, "vs_currency")
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput(f"days must be 1 to {MAX_DAYS}; {days} was given", field="days")
        if known_at is not None:
            return await self._known_at(coin, currency, days, known_at, priority)
        last = last_closed_day(self._clock.now())
        first = last - timedelta(days=days - 1)
        patience = None
        if week_after is not None and not self._archive.holds(coin, currency):
            patience = week_after - self._monotonic.monotonic()
        if priority is Priority.BULK:
            await self._filler.wait_until_deep(coin, currency)
        fetched, error = await self._fill(
            coin, currency, first, priority, patience, closes_first=closes_first
        )
        odd = await self._filler.implausible_days(coin, currency)
        kept = within(await self._archive.read(coin, currency), first, last)
        candles = [candle for candle in kept if candle.day not in odd] if odd else kept
        if not candles:
            failure = error or self._nothing_closed(coin, currency, in_doubt=bool(kept))
            week = None if patience is None or kept else self._week(coin, currency, first, failure)
            if week is None:
                raise failure
            return week
        history = self._history(
            coin, currency, candles, first, fetched=fetched, error=error, in_doubt=len(candles) < len(kept)
        )
        _check_age(history.provenance, max_age_seconds, error)
        return history

    def _week(self, coin: str, currency: str, first: date, error: CoincastError) -> History | None:
        """Return the week of a coin's sparkline as a partial history.

        None if there is no sparkline, or if `error` says that the coin does not exist.
        """
        if self._sparklines is None or isinstance(error, NotFound | InvalidInput):
            return None
        candles = within(
            self._sparklines.candles(coin, currency, last_closed_day(self._clock.now())),
            first,
            last_closed_day(self._clock.now()),
        )
        if not candles:
            return None
        return History(
            id=coin,
            vs_currency=currency,
            candles=candles,
            provenance=self._provenance(candles[-1].day, True, error),
            truncated=candles[0].day > first,
            truncated_reason=WEEK_ONLY,
            completeness=Completeness.PARTIAL,
            partial_reason=f"{WEEK_ONLY}: {error.message}",
            retry_after_seconds=error.retry_after_seconds or RETRY_PARTIAL_SECONDS,
            from_sparkline=True,
        )

    def _nothing_closed(self, coin: str, currency: str, *, in_doubt: bool) -> CoincastError:
        """Return the error for a coin without a day to serve: not confirmed yet, or no closed day."""
        doubt = self._filler.seconds_until_confirmation(coin, currency)
        if doubt is not None or in_doubt:
            text = f"the days of {coin} in {currency} are not confirmed: {IN_DOUBT}"
            return Unavailable(text, retry_after_seconds=doubt or RETRY_PARTIAL_SECONDS)
        return NotFound(f"{coin} has no closed day in {currency} yet", field="id")

    async def _known_at(
        self, coin: str, currency: str, days: int, known_at: float, priority: Priority
    ) -> History:
        self._check_past(known_at)
        last = last_closed_day(known_at)
        first = last - timedelta(days=days - 1)
        error = None
        if not self._archive.holds(coin, currency):
            _, error = await self._fill(coin, currency, first, priority)
        past = await self._archive.read_known_at(coin, currency, known_at)
        stored = within(past.candles, first, last)
        candles = [c for c in stored if c.received_at is None or c.received_at <= known_at]
        if not candles:
            raise error or NotFound(
                f"nothing of {coin} in {currency} is stored for that time", field="known_at"
            )
        history = self._history(coin, currency, candles, first, fetched=False, error=None)
        notes = _change_notes(past, "this history was restated")
        notes += _arrival_notes(stored, candles, unit="days", settling_minutes=SETTLING.seconds // 60)
        as_of = history.provenance.as_of
        newest = candles[-1].day
        reason = "" if newest == last else f"no candle after {newest.isoformat()} had come by then"
        return replace(
            history,
            provenance=replace(
                history.provenance, stale=bool(reason), reason=reason, age_seconds=known_at - as_of
            ),
            completeness=Completeness.WHOLE,
            partial_reason="",
            retry_after_seconds=None,
            quality_notes=notes,
            revision=None,
        )

    def _check_past(self, known_at: float) -> None:
        now = self._clock.now()
        if known_at > now:
            newest = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}"
            raise InvalidInput(f"known_at must not lie in the future: it is {newest}", field="known_at")

    async def get_hours(
        self,
        coin: str,
        currency: str,
        days: int,
        max_age_seconds: float | None = None,
        priority: Priority = Priority.HISTORY,
        *,
        known_at: float | None = None,
        until: float | None = None,
        stored_only: bool = False,
    ) -> History:
        """Return the last closed hours of a coin, newest last.

        Args:
            coin: The id of the coin.
            currency: The code of the currency.
            days: The number of spans of 24 hours.
            max_age_seconds: The maximum accepted age of the newest hour; None for any.
            priority: The priority of upstream calls.
            known_at: A past moment, UNIX seconds. The hours are returned as they were known then: they count
                back from the newest one that was closed, later hours are left out, and hours that were
                dropped later are included. Only a coin without a stored hour is fetched.
            until: A moment within the last hour that is needed, UNIX seconds; later hours are not fetched.
            stored_only: Whether to return stored hours only, without a fetch.

        Raises:
            InvalidInput: An argument is not valid.
            CoincastError: No hour is stored, and none could be fetched.
        """
        coin, currency = canonical_id(coin), canonical_currency(currency)
        self._directory.check_currency(currency, "vs_currency")
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput(f"days must be 1 to {MAX_DAYS}; {days} was given", field="days")
        if known_at is not None:
            self._check_past(known_at)
        moment = self._clock.now() if known_at is None else known_at
        closed = newest = last_closed_hour(moment)
        if until is not None:
            newest = min(newest, int(until // HOUR_SECONDS) * HOUR_SECONDS)
        first = newest - (days * 24 - 1) * HOUR_SECONDS
        fetched = not stored_only
        if fetched and known_at is not None:
            fetched = self._hours is not None and not await self._hours.read(coin, currency)
        error = await self._fill_hours(coin, currency, first, newest, priority) if fetched else None
        past = await self._stored_hours(coin, currency, known_at)
        stored = [candle for candle in past.candles if first <= candle.start <= newest]
        hours = [c for c in stored if known_at is None or c.received_at is None or c.received_at <= known_at]
        if not hours:
            if known_at is not None and error is None:
                text = f"no hour of {coin} in {currency} is stored for that time"
                raise NotFound(text, field="known_at")
            raise error or self._no_closed_hour(coin, currency)
        # If the span ends in the past, its newest hour is not late.
        now = moment if newest == closed else newest + HOUR_SECONDS + SETTLING_SECONDS
        history = self._hourly_history(coin, currency, hours, first, error, now=now)
        if now != moment:
            aged = replace(history.provenance, age_seconds=max(0.0, moment - history.provenance.as_of))
            history = replace(history, provenance=aged)
        _check_age(history.provenance, max_age_seconds, error)
        if known_at is not None:
            return self._as_known_at(history, past, stored, hours)
        return await self._checked_by_days(history)

    async def _checked_by_days(self, history: History) -> History:
        """Return a history of hours, partial and in doubt if its newest hours contradict the stored days."""
        hours = [
            hour for hour in history.hours or () if hour.start > history.provenance.as_of - CHECKED_SECONDS
        ]
        if not contradicting_hours(hours, await self._archive.read(history.id, history.vs_currency)):
            return history
        return replace(
            history,
            completeness=Completeness.PARTIAL,
            partial_reason=HOURS_CONTRADICT,
            retry_after_seconds=history.retry_after_seconds or RETRY_PARTIAL_SECONDS,
            quality_notes=[*history.quality_notes, HOURS_CONTRADICT],
            in_doubt=True,
        )

    async def _stored_hours(
        self, coin: str, currency: str, known_at: float | None
    ) -> PastCandles[HourlyCandle]:
        """Return all stored hours; for a past moment including those that were dropped later."""
        if self._hours is None:
            return PastCandles((), (), ())
        if known_at is None:
            return PastCandles(await self._hours.read(coin, currency), (), ())
        return await self._hours.read_known_at(coin, currency, known_at)

    def _as_known_at(
        self,
        history: History,
        past: PastCandles[HourlyCandle],
        stored: Sequence[HourlyCandle],
        hours: Sequence[HourlyCandle],
    ) -> History:
        """Return a history of hours with the notes and provenance of a past moment; it is never partial."""
        provenance, notes = history.provenance, _change_notes(past, "hours of this history were dropped")
        notes += _arrival_notes(stored, hours, unit="hours", settling_minutes=SETTLING_SECONDS // 60)
        if provenance.stale:
            newest = datetime.fromtimestamp(hours[-1].start, UTC).strftime("%Y-%m-%dT%H:%MZ")
            provenance = replace(provenance, reason=f"no hour after that of {newest} had come by then")
        return replace(
            history,
            provenance=provenance,
            completeness=Completeness.WHOLE,
            partial_reason="",
            retry_after_seconds=None,
            quality_notes=notes,
            in_doubt=False,
        )

    def _no_closed_hour(self, coin: str, currency: str) -> CoincastError:
        doubt = self._filler.seconds_until_hours_confirmation(coin, currency)
        if doubt is not None:
            text = f"the hours of {coin} in {currency} are not confirmed: {HOURS_IN_DOUBT}"
            return Unavailable(text, retry_after_seconds=doubt)
        return NotFound(f"{coin} has no closed hour in {currency} yet", field="id")

    async def _fill_hours(
        self, coin: str, currency: str, first: int, newest: int, priority: Priority
    ) -> CoincastError | None:
        """Fetch the missing hours; return the error if that failed, otherwise None."""
        refused = await self._refusal(coin, currency)
        if refused is not None:
            return refused
        patience = 600.0 if priority is Priority.BULK else wait_budget_seconds(fallback=False)
        try:
            async with asyncio.timeout(patience):
                await self._filler.fill_hours(coin, currency, first, priority, newest=newest)
        except TimeoutError:
            return late_error(self._queue.seconds_to_turn(priority))
        except NotFound:
            failure: CoincastError = await self._no_such(coin)
        except CoincastError as error:
            failure = error
        else:
            return None
        self._refused.remember((coin, currency), failure)
        return failure

    def _hourly_history(
        self,
        coin: str,
        currency: str,
        hours: Sequence[HourlyCandle],
        first: int,
        error: CoincastError | None,
        *,
        now: float,
    ) -> History:
        as_of = hours[-1].start + HOUR_SECONDS
        stale = hours[-1].start < last_closed_hour(now)
        source = Source.STALE if stale else Source.ARCHIVE
        reason = ""
        if stale:
            reason = error.message if error else "CoinGecko has no point of the newest closed hour yet"
        doubt = self._filler.seconds_until_hours_confirmation(coin, currency) if stale else None
        if doubt is not None and error is None:
            reason = HOURS_IN_DOUBT
            error = Unavailable(HOURS_IN_DOUBT, retry_after_seconds=doubt)
        completeness, truncated_reason = Completeness.WHOLE, ""
        truncated = hours[0].start > first
        if error is not None and not isinstance(error, NotFound):
            completeness = Completeness.PARTIAL
        elif truncated and hours[0].start <= now - (HOURLY_DAYS - 1) * DAY_SECONDS:
            completeness = Completeness.CUT_BY_PLAN
        if truncated:
            since = datetime.fromtimestamp(hours[0].start, UTC).strftime("%Y-%m-%dT%H:%MZ")
            truncated_reason = f"hours before {since} are not kept, and CoinGecko's free plans reach 90 days"
        return History(
            id=coin,
            vs_currency=currency,
            candles=(),
            provenance=Provenance(
                as_of,
                max(0.0, now - as_of),
                Source.SANDBOX if self._sandbox else source,
                stale,
                reason,
            ),
            truncated=truncated,
            truncated_reason=truncated_reason,
            completeness=completeness,
            partial_reason=error.message if completeness is Completeness.PARTIAL and error else "",
            retry_after_seconds=(error.retry_after_seconds or RETRY_PARTIAL_SECONDS)
            if completeness is Completeness.PARTIAL and error
            else None,
            quality_notes=[HOURS_IN_DOUBT] if doubt is not None else [],
            in_doubt=doubt is not None,
            hours=hours,
        )

    async def _fill(
        self,
        coin: str,
        currency: str,
        first: date,
        priority: Priority,
        most_seconds: float | None = None,
        *,
        closes_first: bool = False,
    ) -> tuple[bool, CoincastError | None]:
        """Fetch the missing days.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            first: The earliest day that is needed.
            priority: The priority of upstream calls.
            most_seconds: The longest wait, in addition to the usual limit; at 0 or less no fetch is started.
            closes_first: Whether closes suffice for now if whole days take many calls.

        Returns:
            Whether days were fetched just now, and the error that left the history incomplete.
        """
        missing = await self._filler.missing(coin, currency, first)
        if not missing:
            return False, None
        nearly_whole = len(missing) <= FEW_DAYS and bool(await self._archive.read(coin, currency))
        refused = await self._refusal(coin, currency)
        if refused is not None:
            return False, refused
        if most_seconds is not None and most_seconds <= 0:
            # No time is left to wait, so the few calls of a small plan are left for other coins.
            return False, Unavailable(
                f"the history of {coin} has not been fetched yet", retry_after_seconds=RETRY_PARTIAL_SECONDS
            )
        patience = 600.0 if priority is Priority.BULK else wait_budget_seconds(fallback=nearly_whole)
        if most_seconds is not None:
            patience = min(patience, most_seconds)
        try:
            async with asyncio.timeout(patience):
                added = await self._filler.fill(
                    coin,
                    currency,
                    first,
                    priority,
                    closes_first=closes_first and self._filler.takes_many_calls(missing, currency),
                )
                return added > 0, None
        except TimeoutError:
            return False, late_error(self._queue.seconds_to_turn(priority))
        except NotFound:
            failure: CoincastError = await self._no_such(coin)
        except CoincastError as error:
            failure = error
        if not isinstance(failure, BeyondPlanReach):
            self._refused.remember((coin, currency), failure)
        return False, failure

    async def _refusal(self, coin: str, currency: str) -> CoincastError | None:
        """Return why no call is made for a coin: it does not exist, or the last call was refused."""
        if self._directory.is_certainly_unknown(coin):
            return await self._no_such(coin)
        return self._refused.find((coin, currency))

    async def _no_such(self, coin: str) -> NotFound:
        if self._directory.is_certainly_known(coin):
            return NotFound(f"CoinGecko lists {coin}, but has no history of it", field="id")
        names = await self._directory.suggest(coin)
        hint = f"; did you mean {', '.join(names[:3])}?" if names else ""
        return NotFound(f"CoinGecko has no coin {echo(coin)}{hint}", field="id", suggestions=names)

    def _history(
        self,
        coin: str,
        currency: str,
        candles: Sequence[Candle],
        first: date,
        *,
        fetched: bool,
        error: CoincastError | None,
        in_doubt: bool = False,
    ) -> History:
        in_doubt = in_doubt or self._filler.seconds_until_confirmation(coin, currency) is not None
        inside = gaps(candles, candles[0].day, candles[-1].day)
        truncated = candles[0].day > first
        completeness, reason, retry_after = self._completeness(coin, currency, candles, truncated, error)
        if in_doubt and completeness is not Completeness.PARTIAL:
            completeness, reason, retry_after = Completeness.PARTIAL, IN_DOUBT, RETRY_PARTIAL_SECONDS
        return History(
            id=coin,
            vs_currency=currency,
            candles=candles,
            provenance=self._provenance(candles[-1].day, fetched, error),
            truncated=truncated,
            truncated_reason=self._why_short(coin, currency, candles[0].day, error) if truncated else "",
            missing_days=inside[:MAX_MISSING],
            revision=self._archive.revision(coin, currency),
            completeness=completeness,
            partial_reason=reason,
            retry_after_seconds=retry_after,
            quality_notes=[IN_DOUBT] if in_doubt else [],
            in_doubt=in_doubt,
            ranges_pending=reason.startswith(RANGES_PENDING.partition(" {")[0]),
        )

    def _completeness(
        self,
        coin: str,
        currency: str,
        candles: Sequence[Candle],
        truncated: bool,
        error: CoincastError | None,
    ) -> tuple[Completeness, str, float | None]:
        """Return the completeness of a history, and if it is partial, the reason and when to retry."""
        if error is not None and not isinstance(error, NotFound | BeyondPlanReach):
            return Completeness.PARTIAL, error.message, error.retry_after_seconds or RETRY_PARTIAL_SECONDS
        doubt = self._filler.seconds_until_confirmation(coin, currency)
        if doubt is not None:
            return Completeness.PARTIAL, IN_DOUBT, doubt
        late = self._filler.seconds_until_late_day(coin, currency)
        if late is not None and candles[-1].day < last_closed_day(self._clock.now()):
            newest = candles[-1].day.isoformat()
            return Completeness.PARTIAL, f"CoinGecko has no candle after {newest} yet", late
        deepening = self._filler.is_deepening(coin, currency)
        bare = sum(not candle.is_whole for candle in candles) if deepening else 0
        if bare:
            return Completeness.PARTIAL, RANGES_PENDING.format(days=bare), RETRY_PARTIAL_SECONDS
        if truncated and (isinstance(error, BeyondPlanReach) or self._starts_at_reach(candles[0].day)):
            return Completeness.CUT_BY_PLAN, "", None
        return Completeness.WHOLE, "", None

    def _starts_at_reach(self, first_there: date) -> bool:
        """Return whether a history starts where the reach of the plan ends."""
        return first_there <= last_closed_day(self._clock.now()) - timedelta(days=self._filler.reach_days - 2)

    def _provenance(self, newest: date, fetched: bool, error: CoincastError | None) -> Provenance:
        as_of = midnight(newest) + DAY_SECONDS
        now = self._clock.now()
        stale = newest < last_closed_day(now)
        source = Source.LIVE if fetched else Source.STALE if stale else Source.ARCHIVE
        if self._sandbox:
            source = Source.SANDBOX
        reason = ""
        if stale:
            reason = error.message if error else f"CoinGecko has no candle after {newest.isoformat()} yet"
        return Provenance(as_of, max(0.0, now - as_of), source, stale, reason)

    def _why_short(self, coin: str, currency: str, first_there: date, error: CoincastError | None) -> str:
        if error is not None:
            return f"earlier days could not be fetched: {error.message}"
        if self._filler.seconds_until_confirmation(coin, currency) is not None:
            return "earlier days were far off those that are kept and wait to be confirmed"
        if self._starts_at_reach(first_there):
            return f"the plan at CoinGecko reaches {self._filler.reach_days} days back"
        return f"CoinGecko has no data of this coin before {first_there.isoformat()}"


def chunks(history: History) -> Iterator[History]:
    """Yield a history in parts of a thousand candles, oldest first, each with the provenance of the whole."""
    hours, candles = history.hours, history.candles
    for start in range(0, len(candles if hours is None else hours), CHUNK_CANDLES):
        part = slice(start, start + CHUNK_CANDLES)
        yield replace(
            history,
            candles=candles[part],
            hours=None if hours is None else hours[part],
            missing_days=history.missing_days if start == 0 else (),
        )


def _change_notes(past: PastCandles[Candle] | PastCandles[HourlyCandle], change: str) -> list[str]:
    """Return notes about the changes after a past moment, which its history should not include.

    Args:
        past: The candles of the moment.
        change: What a change is, as the start of a sentence.
    """
    notes = [f"{change} later; these are the figures of that time"] if past.undone else []
    if past.included:
        times = ", ".join(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in past.included)
        notes = [f"{change} at {times}, which these figures include: the former ones cannot be read"]
    return notes


def _arrival_notes(
    stored: Sequence[Candle] | Sequence[HourlyCandle],
    known: Sequence[Candle] | Sequence[HourlyCandle],
    *,
    unit: str,
    settling_minutes: int,
) -> list[str]:
    """Return notes about the arrival of candles in a history of a past moment.

    Args:
        stored: All stored candles of the span.
        known: Those that are returned.
        unit: `days` or `hours`.
        settling_minutes: How long after its end a candle without a recorded time counts as known.
    """
    notes = []
    late = len(stored) - len(known)
    if late:
        notes.append(f"{late} {unit} are left out: they came later than that moment")
    assumed = sum(candle.received_at is None for candle in known)
    if assumed:
        which = f"all {unit}" if assumed == len(known) else f"{assumed} of {len(known)} {unit}"
        notes.append(
            f"when {which} came is not recorded: each counts as known {settling_minutes} minutes"
            " after its end"
        )
    return notes


def _check_age(provenance: Provenance, max_age: float | None, error: CoincastError | None) -> None:
    if max_age is None or provenance.age_seconds <= max_age:
        return
    why = f" ({error.message})" if error else ""
    raise Unavailable(
        f"the newest closed day ended {provenance.age_seconds:.0f} s ago, not within {max_age:g} s{why}",
        field="max_age_seconds",
        retry_after_seconds=60,
    )
