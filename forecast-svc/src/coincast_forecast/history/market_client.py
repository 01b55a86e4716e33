"""Fetch histories from market-data-svc over gRPC."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import grpc.aio
import numpy as np
import numpy.typing as npt

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1.market_pb2_grpc import MarketDataServiceStub
from coincast_chassis.errors import KINDS, CoincastError, NotReady, Timeout, Unavailable
from coincast_chassis.grpc.error_mapping import without_addresses
from coincast_forecast.domain import History, Provenance, partial_error
from coincast_forecast.grpc.proto_mapping import provenance_of
from coincast_forecast.history.cache import CLOCK_COIN
from coincast_modelkit.candles import Candles, Floats

SERVICE = "coincast.market.v1.MarketDataService"
UNAVAILABLE = "market-data does not answer"
# Maximum number of candles in a message of a stream; a message with fewer ends a coin's history.
CHUNK_CANDLES = 1000
# A stream ends after this share of the caller's time, so that the histories received by then can be used.
STREAM_SHARE = 0.9
LATE_RETRY_SECONDS = 2.0
DEFAULT_PARTIAL_REASON = "market-data could not fetch the whole history for now"
DEFAULT_DOUBT_REASON = "the newest candles are not confirmed yet"


class MarketClient:
    """A HistorySource over one gRPC channel."""

    def __init__(self, channel: grpc.aio.Channel, timeout_seconds: float) -> None:
        self._stub = MarketDataServiceStub(channel)
        self._timeout_seconds = timeout_seconds

    async def fetch(
        self,
        ids: Sequence[str],
        vs_currency: str,
        days: int,
        known_at: datetime | None = None,
        *,
        sparkline_ids: Sequence[str] = (),
    ) -> Mapping[str, History | CoincastError]:
        """Return each coin's history or error; several coins come over one stream.

        Coins whose history has not arrived by the time limit get Unavailable; the other histories are
        returned. Coins of `sparkline_ids` are streamed last, so that they do not delay the others.

        Args:
            ids: Ids of coins.
            vs_currency: The currency of the prices.
            days: Number of closed days.
            known_at: A past time (UTC): return the histories as they were known then; None for now.
            sparkline_ids: Coins for which a week from a sparkline suffices while nothing more is stored.

        Raises:
            CoincastError: The call failed for all coins.
        """
        if len(ids) == 1 and known_at is None and not sparkline_ids:
            return {ids[0]: await self._fetch_one(ids[0], vs_currency, days)}
        request = pb.StreamHistoryRequest(
            ids=sorted(ids, key=lambda coin: coin in sparkline_ids),
            vs_currency=vs_currency,
            days=days,
            sparkline_ids=sparkline_ids,
            closes_first=known_at is None,
        )
        if known_at is not None:
            request.known_at.FromDatetime(known_at)
        try:
            return await self._fetch_many(request)
        except Unavailable as error:
            raise without_addresses(error, UNAVAILABLE) from error

    async def last_closed_day(self, vs_currency: str) -> date:
        """Return the newest closed day of CLOCK_COIN, which trades at all hours.

        Raises:
            CoincastError: market-data has no candles of it, or does not answer.
        """
        history = await self._fetch_one(CLOCK_COIN, vs_currency, 2)
        if isinstance(history, CoincastError):
            raise history
        return history.candles.as_of

    async def _fetch_many(self, request: pb.StreamHistoryRequest) -> Mapping[str, History | CoincastError]:
        chunks: dict[str, list[Chunk]] = {}
        found: dict[str, History | CoincastError] = {}
        unfinished = ""
        try:
            async for reply in self._stub.StreamHistory(
                request, timeout=self._timeout_seconds * STREAM_SHARE
            ):
                if reply.WhichOneof("chunk") == "error":
                    found[reply.error.id] = error_of(reply.error)
                else:
                    # A thousand candles take milliseconds to convert, so this runs off the event loop. Each
                    # message is released at once.
                    chunk = await asyncio.to_thread(chunk_of, reply.history)
                    chunks.setdefault(reply.history.id, []).append(chunk)
                    unfinished = reply.history.id if len(reply.history.candles) >= CHUNK_CANDLES else ""
        except Timeout:
            chunks.pop(unfinished, None)
            found = {coin: _late(coin) for coin in request.ids if coin not in chunks} | found
        for coin, of_coin in chunks.items():
            found.setdefault(coin, history_of(coin, of_coin))
        return found

    async def _fetch_one(self, coin: str, vs_currency: str, days: int) -> History | CoincastError:
        request = pb.GetHistoryRequest(id=coin, vs_currency=vs_currency, days=days, closes_first=True)
        try:
            reply = await self._stub.GetHistory(request, timeout=self._timeout_seconds)
        except Unavailable as error:
            return without_addresses(error, UNAVAILABLE)
        except Timeout:
            return _late(coin)
        except CoincastError as error:
            return error
        return history_of(coin, [await asyncio.to_thread(chunk_of, reply.history)])


def _late(coin: str) -> Unavailable:
    return Unavailable(
        f"the history of {coin} has not arrived yet: market-data waits for its source",
        retry_after_seconds=LATE_RETRY_SECONDS,
    )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of a coin's candles.

    `dates` (n,) are ISO dates. `figures` (5, n) are open, high, low, close, volume; absent figures are zero.
    """

    dates: npt.NDArray[np.str_]
    figures: Floats
    provenance: Provenance
    partial_reason: str = ""
    retry_after_seconds: float | None = None
    doubt_reason: str = ""
    from_sparkline: bool = False
    ranges_pending: bool = False


def chunk_of(message: pb.History) -> Chunk:
    """Convert one message; candles without a price are left out."""
    candles = [c for c in message.candles if c.close > 0 and math.isfinite(c.close)]
    figures = np.array([(c.open, c.high, c.low, c.close, c.volume) for c in candles], dtype=np.float64)
    partial = message.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
    return Chunk(
        dates=np.array([c.date for c in candles], dtype=np.str_),
        figures=figures.reshape(-1, 5).T,
        provenance=provenance_of(message.provenance),
        partial_reason=(message.partial_reason or DEFAULT_PARTIAL_REASON) if partial else "",
        retry_after_seconds=message.retry_after_seconds if message.HasField("retry_after_seconds") else None,
        doubt_reason="; ".join(message.quality_notes) or DEFAULT_DOUBT_REASON if message.in_doubt else "",
        from_sparkline=message.from_sparkline,
        ranges_pending=message.ranges_pending,
    )


def history_of(coin: str, chunks: Sequence[Chunk]) -> History | CoincastError:
    """Join the chunks of one coin.

    Returns:
        The history. Without any candle, NotReady, or Unavailable if candles may come later. For dates that
        are malformed or out of order, Unavailable.
    """
    partial = next((c for c in chunks if c.partial_reason), None)
    figures = np.concatenate([chunk.figures for chunk in chunks], axis=1)
    if not figures.size:
        if partial is not None:
            return partial_error(coin, partial.partial_reason, partial.retry_after_seconds)
        return NotReady(f"{coin} has no closed day of history yet", field="ids")
    # Absent figures are zero in the message; zero is not a valid price either.
    opening, high, low, close, volume = np.where(np.isfinite(figures) & (figures > 0), figures, math.nan)
    try:
        dates = np.concatenate([chunk.dates for chunk in chunks]).astype("datetime64[D]")
        candles = Candles(
            coin_id=coin, dates=dates, open=opening, high=high, low=low, close=close, volume=volume
        )
    except ValueError as error:
        return Unavailable(f"the history of {coin} is malformed: {error}", retry_after_seconds=60.0)
    return History(
        candles,
        _worst(chunk.provenance for chunk in chunks),
        partial_reason=partial.partial_reason if partial is not None else "",
        retry_after_seconds=partial.retry_after_seconds if partial is not None else None,
        doubt_reason=next((c.doubt_reason for c in chunks if c.doubt_reason), ""),
        from_sparkline=any(chunk.from_sparkline for chunk in chunks),
        ranges_pending=partial is not None and partial.ranges_pending,
    )


def error_of(item: common_pb2.ItemError) -> CoincastError:
    """Return the error that market-data reports for one coin."""
    name = common_pb2.ErrorKind.Name(item.kind).removeprefix("ERROR_KIND_").lower()
    return KINDS.get(name, Unavailable)(
        item.message,
        field=item.field,
        retry_after_seconds=item.retry_after_seconds if item.HasField("retry_after_seconds") else None,
        suggestions=item.suggestions,
    )


def _worst(provenances: Iterable[Provenance]) -> Provenance:
    """Return the first stale provenance, or the last one."""
    last: Provenance | None = None
    for last in provenances:
        if last.stale:
            return last
    return last if last is not None else provenance_of(common_pb2.Provenance())
