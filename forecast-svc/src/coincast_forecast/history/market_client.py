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
from coincast_forecast.domain import Provenance
from coincast_forecast.grpc.proto_mapping import provenance_of
from coincast_forecast.history.cache import CLOCK_COIN
from coincast_forecast.ports import History, partial_error
from coincast_modelkit.candles import Candles, Floats

SERVICE = "coincast.market.v1.MarketDataService"
UNAVAILABLE = "market-data does not answer"
# A message of a stream holds at most this many candles; one with fewer ends a coin's history.
CHUNK_CANDLES = 1000
# Share of a fetch's time: a stream ends before its caller's deadline, so that what has arrived is used.
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

        Coins whose history has not arrived when the time is up have Unavailable, the others are used. With
        `known_at` the histories are those of that moment. Of `sparkline_ids` a last week suffices while no
        more is there; they come last, so that the others are waited for first.

        Args:
            ids: Ids of coins.
            vs_currency: The currency of the prices.
            days: Number of closed days.
            known_at: A past moment, UNIX seconds; None for now.
            sparkline_ids: Coins for which a week from a sparkline suffices at first.

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
        """Return the newest closed day of the coin that trades at all hours.

        Raises:
            CoincastError: market-data gave no candles of it.
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
                    # A thousand candles take milliseconds to convert: off the loop, and each message is
                    # released at once.
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

    `dates` (n,) as they were sent; `figures` (5, n) in the order open, high, low, close, volume, zero where
    absent.
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
    """Return the candles of one message; those without a price are left out."""
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
    """Return one coin's chunks as a history.

    Returns:
        The history; NotReady where no candle came (Unavailable where that is so for now only); Unavailable
        where dates are missing or out of order.
    """
    partial = next((c for c in chunks if c.partial_reason), None)
    figures = np.concatenate([chunk.figures for chunk in chunks], axis=1)
    if not figures.size:
        if partial is not None:
            return partial_error(coin, partial.partial_reason, partial.retry_after_seconds)
        return NotReady(f"{coin} has no closed day of history yet", field="ids")
    # An absent figure reads as zero, which is no price either.
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
