"""HistoryCache from market-data-svc over gRPC."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import grpc.aio
import numpy as np
import numpy.typing as npt

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1.market_pb2_grpc import MarketDataServiceStub
from coincast_chassis.errors import KINDS, CoincastError, NotReady, Unavailable
from coincast_chassis.grpc.error_mapping import plainly
from coincast_forecast.domain import Provenance
from coincast_forecast.grpc.proto_mapping import provenance_of
from coincast_forecast.ports import History
from coincast_modelkit.candles import Candles, Floats

SERVICE = "coincast.market.v1.MarketDataService"
CLOCK_COIN = "bitcoin"
GONE = "market-data does not answer"


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
        try:
            return await self._many(ids, vs_currency, days)
        except Unavailable as error:
            raise plainly(error, GONE) from error

    async def _many(
        self, ids: Sequence[str], vs_currency: str, days: int
    ) -> Mapping[str, History | CoincastError]:
        request = pb.StreamHistoryRequest(ids=ids, vs_currency=vs_currency, days=days)
        parts: dict[str, list[Part]] = {}
        found: dict[str, History | CoincastError] = {}
        async for reply in self._stub.StreamHistory(request, timeout=self._timeout_seconds):
            if reply.WhichOneof("chunk") == "error":
                found[reply.error.id] = error_of(reply.error)
            else:
                # A thousand candles cost milliseconds: off the loop, and each message let go of at once.
                part = await asyncio.to_thread(part_of, reply.history)
                parts.setdefault(reply.history.id, []).append(part)
        for coin, of_coin in parts.items():
            found.setdefault(coin, history_of(coin, of_coin))
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
        except Unavailable as error:
            return plainly(error, GONE)
        except CoincastError as error:
            return error
        return history_of(coin, [await asyncio.to_thread(part_of, reply.history)])


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a coin's candles: dates (n,) as they were sent, figures (5, n) in the order open, high, low,
    close, volume, zero where absent; and where they come from.
    """

    dates: npt.NDArray[np.str_]
    figures: Floats
    provenance: Provenance


def part_of(message: pb.History) -> Part:
    """One chunk's candles. What has no price is left out."""
    candles = [c for c in message.candles if c.close > 0 and math.isfinite(c.close)]
    figures = np.array([(c.open, c.high, c.low, c.close, c.volume) for c in candles], dtype=np.float64)
    dates = np.array([c.date for c in candles], dtype=np.str_)
    return Part(dates, figures.reshape(-1, 5).T, provenance_of(message.provenance))


def history_of(coin: str, parts: Sequence[Part]) -> History | CoincastError:
    """One coin's parts as a history. NotReady where there is no candle, Unavailable where dates are none or
    not in order.
    """
    figures = np.concatenate([part.figures for part in parts], axis=1)
    if not figures.size:
        return NotReady(f"{coin} has no closed day of history yet", field="ids")
    # An absent figure reads as zero, which is no price either.
    opening, high, low, close, volume = np.where(np.isfinite(figures) & (figures > 0), figures, math.nan)
    try:
        dates = np.concatenate([part.dates for part in parts]).astype("datetime64[D]")
        candles = Candles(coin, dates, opening, high, low, close, volume)
    except ValueError as error:
        return Unavailable(f"the history of {coin} is malformed: {error}", retry_after_seconds=60.0)
    return History(candles, _worst(part.provenance for part in parts))


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
