"""Histories from market-data-svc over gRPC."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import grpc.aio
import numpy as np

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1.market_pb2_grpc import MarketDataServiceStub
from coincast_chassis.errors import KINDS, CoincastError, NotReady, Unavailable
from coincast_forecast.convert import provenance_of
from coincast_forecast.domain import Provenance
from coincast_forecast.ports import History
from coincast_modelkit.candles import Candles

SERVICE = "coincast.market.v1.MarketDataService"
CLOCK_COIN = "bitcoin"


class MarketClient:
    """A HistorySource over one channel."""

    def __init__(self, channel: grpc.aio.Channel, timeout_seconds: float) -> None:
        self._stub = MarketDataServiceStub(channel)
        self._timeout_seconds = timeout_seconds

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int
    ) -> Mapping[str, History | CoincastError]:
        """Each coin's history or error; many coins over one stream."""
        if len(ids) == 1:
            return {ids[0]: await self._one(ids[0], vs_currency, days)}
        request = pb.StreamHistoryRequest(ids=ids, vs_currency=vs_currency, days=days)
        chunks: dict[str, list[pb.History]] = {}
        found: dict[str, History | CoincastError] = {}
        async for reply in self._stub.StreamHistory(request, timeout=self._timeout_seconds):
            if reply.WhichOneof("chunk") == "error":
                found[reply.error.id] = error_of(reply.error)
            else:
                chunks.setdefault(reply.history.id, []).append(reply.history)
        for coin, parts in chunks.items():
            # A coin's thousand candles cost milliseconds: off the loop, one coin after another.
            found.setdefault(coin, await asyncio.to_thread(history_of, coin, parts))
        return found

    async def last_closed_day(self, vs_currency: str) -> date:
        """The newest closed day of the coin that never sleeps."""
        history = await self._one(CLOCK_COIN, vs_currency, 2)
        if isinstance(history, CoincastError):
            raise history
        return history.candles.as_of

    async def _one(self, coin: str, vs_currency: str, days: int) -> History | CoincastError:
        request = pb.GetHistoryRequest(id=coin, vs_currency=vs_currency, days=days)
        try:
            reply = await self._stub.GetHistory(request, timeout=self._timeout_seconds)
        except CoincastError as error:
            return error
        return await asyncio.to_thread(history_of, coin, [reply.history])


def history_of(coin: str, parts: Iterable[pb.History]) -> History | CoincastError:
    """One coin's chunks as a history. What is no price is left out; NotReady where nothing is left."""
    parts = list(parts)
    candles = [
        candle
        for part in parts
        for candle in part.candles
        if candle.close > 0 and math.isfinite(candle.close)
    ]
    if not candles:
        return NotReady(f"{coin} has no closed day of history yet", field="ids")
    try:
        return History(candles_of(coin, candles), _worst(provenance_of(part.provenance) for part in parts))
    except ValueError as error:
        return Unavailable(f"the history of {coin} is malformed: {error}", retry_after_seconds=60.0)


def candles_of(coin: str, candles: Sequence[pb.Candle]) -> Candles:
    """Candles as arrays; absent figures are NaN. Raises ValueError where dates are not in order."""
    figures = np.array([(c.open, c.high, c.low, c.close, c.volume) for c in candles], dtype=np.float64).T
    # An absent figure reads as zero, which is no price either.
    opening, high, low, _, volume = np.where(np.isfinite(figures) & (figures > 0), figures, math.nan)
    dates = np.array([candle.date for candle in candles], dtype="datetime64[D]")
    return Candles(coin, dates, opening, high, low, figures[3], volume)


def error_of(item: common_pb2.ItemError) -> CoincastError:
    """The error that market-data met with one coin."""
    name = common_pb2.ErrorKind.Name(item.kind).removeprefix("ERROR_KIND_").lower()
    return KINDS.get(name, Unavailable)(
        item.message,
        field=item.field,
        retry_after_seconds=item.retry_after_seconds if item.HasField("retry_after_seconds") else None,
        suggestions=item.suggestions,
    )


def _worst(provenances: Iterable[Provenance]) -> Provenance:
    """The first stale one, or the last."""
    last = Provenance(provenance_of(common_pb2.Provenance()).source)
    for last in provenances:
        if last.stale:
            return last
    return last
