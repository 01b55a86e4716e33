"""Cache of hourly histories from market-data, valid until the next hour closes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import grpc.aio
import numpy as np

from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1.market_pb2_grpc import MarketDataServiceStub
from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, NotReady, Unavailable
from coincast_chassis.grpc.error_mapping import without_addresses
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast.domain import HourlyHistory
from coincast_forecast.grpc.proto_mapping import provenance_of
from coincast_forecast.history.market_client import DEFAULT_DOUBT_REASON, UNAVAILABLE, error_of
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyCandles
from coincast_modelkit.hourly.model import TAIL_HOURS

DAYS = TAIL_HOURS // HOURS_A_DAY
HOUR_SECONDS = 3600.0
# A history that lacks the newest hour is requested again after this time.
RETRY_SECONDS = 30.0
KEPT_COINS = 500


@dataclass(frozen=True, slots=True)
class _Entry:
    outcome: HourlyHistory | CoincastError
    until: float


class HourlyHistories:
    """Hourly histories by coin, fetched over one gRPC channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        clock: Clock,
        *,
        timeout_seconds: float,
        stored_only: bool = False,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Store the channel and the options.

        Args:
            channel: Channel to market-data.
            clock: The clock.
            timeout_seconds: Timeout of a request.
            stored_only: Whether market-data returns only stored hours and fetches nothing.
            retry_seconds: Pause before a history without the newest hour is requested again.
        """
        self._stored_only, self._retry_seconds = stored_only, retry_seconds
        self._stub = MarketDataServiceStub(channel)
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._kept: Lru[tuple[str, str], _Entry] = Lru(KEPT_COINS)

    def peek(self, coin_id: str, vs_currency: str) -> HourlyHistory | CoincastError | None:
        """Return the cached and current history or error of a coin, or None; nothing is fetched."""
        entry = self._kept.get((coin_id, vs_currency))
        return entry.outcome if entry is not None and self._clock.monotonic() < entry.until else None

    async def get(self, ids: Sequence[str], vs_currency: str) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's history or error; only coins without a current cache entry are fetched."""
        found: dict[str, HourlyHistory | CoincastError] = {}
        for coin in ids:
            kept = self.peek(coin, vs_currency)
            if kept is not None:
                found[coin] = kept
        missing = [coin for coin in ids if coin not in found]
        if missing:
            found |= await self._fetch(missing, vs_currency)
        return found

    async def until(
        self, ids: Sequence[str], vs_currency: str, moment: datetime
    ) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's history of the hours that end by a time, or its error; nothing is cached.

        It includes hours that arrived later. The request has low priority when upstream calls are scarce.
        """
        request = pb.StreamHistoryRequest(
            ids=ids, vs_currency=vs_currency, days=DAYS, interval=pb.CANDLE_INTERVAL_ONE_HOUR, bulk=True
        )
        request.to_time.FromDatetime(moment - timedelta(hours=1))
        return await self._stream(request)

    async def known_at(
        self, ids: Sequence[str], vs_currency: str, moment: datetime
    ) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's history of the hours that had arrived by a time, or its error, uncached."""
        request = pb.StreamHistoryRequest(
            ids=ids, vs_currency=vs_currency, days=DAYS, interval=pb.CANDLE_INTERVAL_ONE_HOUR
        )
        request.known_at.FromDatetime(moment)
        return await self._stream(request)

    async def _fetch(self, ids: Sequence[str], vs_currency: str) -> dict[str, HourlyHistory | CoincastError]:
        request = pb.StreamHistoryRequest(
            ids=ids,
            vs_currency=vs_currency,
            days=DAYS,
            interval=pb.CANDLE_INTERVAL_ONE_HOUR,
            stored_only=self._stored_only,
        )
        found = await self._stream(request)
        return self._keep(
            self._same_as_before(found, vs_currency) if self._stored_only else found, vs_currency
        )

    async def _stream(self, request: pb.StreamHistoryRequest) -> dict[str, HourlyHistory | CoincastError]:
        ids = request.ids
        spans: dict[str, list[pb.History]] = {}
        found: dict[str, HourlyHistory | CoincastError] = {}
        try:
            async for reply in self._stub.StreamHistory(request, timeout=self._timeout_seconds):
                if reply.WhichOneof("chunk") == "error":
                    found[reply.error.id] = error_of(reply.error)
                else:
                    spans.setdefault(reply.history.id, []).append(reply.history)
        except CoincastError as error:
            plain = without_addresses(error, UNAVAILABLE) if isinstance(error, Unavailable) else error
            return {coin: found.get(coin, plain) for coin in ids}
        for coin, parts in spans.items():
            # Two thousand hours take milliseconds to convert, so this runs off the event loop.
            found.setdefault(coin, await asyncio.to_thread(history_of, coin, parts))
        for coin in ids:
            found.setdefault(coin, NotReady(f"{coin} has no hourly candles yet", field="ids"))
        return found

    def _keep(
        self, found: dict[str, HourlyHistory | CoincastError], vs_currency: str
    ) -> dict[str, HourlyHistory | CoincastError]:
        """Cache histories until the next hour closes; cache errors of stored-only requests briefly."""
        for coin, outcome in found.items():
            if isinstance(outcome, HourlyHistory):
                self._kept.put((coin, vs_currency), _Entry(outcome, self._current_until(outcome)))
            elif self._stored_only:
                until = self._clock.monotonic() + self._retry_seconds
                self._kept.put((coin, vs_currency), _Entry(outcome, until))
        return found

    def _same_as_before(
        self, found: dict[str, HourlyHistory | CoincastError], vs_currency: str
    ) -> dict[str, HourlyHistory | CoincastError]:
        """Replace unchanged histories by the earlier objects, since caches compare them by identity."""
        return {
            coin: before.outcome
            if (before := self._kept.get((coin, vs_currency))) is not None
            and _is_unchanged(before.outcome, outcome)
            else outcome
            for coin, outcome in found.items()
        }

    def _current_until(self, history: HourlyHistory) -> float:
        """Return the monotonic time of the next close, or of a retry.

        The history is requested again early if its newest hour is missing or not confirmed.
        """
        if history.doubt_reason:
            return self._clock.monotonic() + self._retry_seconds
        closes = float(history.candles.closes_at.astype("datetime64[s]").astype(np.int64))
        left = closes + HOUR_SECONDS - self._clock.now()
        return self._clock.monotonic() + (left if 0 < left <= HOUR_SECONDS else self._retry_seconds)


def _is_unchanged(before: HourlyHistory | CoincastError, now: HourlyHistory | CoincastError) -> bool:
    if isinstance(before, HourlyHistory) and isinstance(now, HourlyHistory):
        return (
            before.doubt_reason == now.doubt_reason
            and np.array_equal(before.candles.starts, now.candles.starts)
            and np.array_equal(before.candles.close, now.candles.close, equal_nan=True)
        )
    return isinstance(before, CoincastError) and isinstance(now, CoincastError) and str(before) == str(now)


def history_of(coin: str, spans: Sequence[pb.History]) -> HourlyHistory | CoincastError:
    """Convert one coin's hourly candles; return NotReady without any, Unavailable if they are malformed."""
    by_hour = {c.start_unix_seconds: c for span in spans for c in span.hourly_candles if c.close > 0}
    hours = sorted(by_hour)
    if not hours:
        return NotReady(f"{coin} has no hourly candles yet", field="ids")
    rows = [by_hour[hour] for hour in hours]
    figures = np.array([(c.open, c.high, c.low, c.close) for c in rows], dtype=np.float64).T
    # Absent figures are zero in the message; zero is not a valid price.
    opening, high, low, close = np.where(np.isfinite(figures) & (figures > 0), figures, np.nan)
    volume = [c.volume if c.HasField("volume") else np.nan for c in rows]
    try:
        candles = HourlyCandles.of(
            coin,
            np.array(hours, dtype="datetime64[s]"),
            close,
            open=opening,
            high=high,
            low=low,
            volume=volume,
        )
    except ValueError as error:
        return Unavailable(f"the hourly history is malformed: {error}", retry_after_seconds=60.0)
    if not len(candles):
        return NotReady(f"{coin} has no hourly candles yet", field="ids")
    doubt = next((span for span in spans if span.in_doubt), None)
    reason = "" if doubt is None else "; ".join(doubt.quality_notes) or DEFAULT_DOUBT_REASON
    return HourlyHistory(candles, provenance_of(spans[-1].provenance), reason)
