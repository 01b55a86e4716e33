"""Fetch candles from market-data over gRPC, retrying broken streams."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import grpc
import numpy as np
import structlog

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2, market_pb2_grpc
from coincast_chassis.errors import CoincastError, Timeout, Unavailable
from coincast_modelkit.candles import Candles
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_training.ports import History, HourlyHistory

log = structlog.get_logger(__name__)
Figure = Literal["open", "high", "low", "volume"]
Spans = dict[str, list[market_pb2.History]]
MAX_DAYS = 10_000
FIRST_PAUSE_SECONDS = 0.5
STATUS_SECONDS = 2.0


class MarketDataHistory:
    """A HistorySource that calls market-data over a gRPC channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        vs_currency: str = "usd",
        timeout_seconds: float = 120,
        attempts: int = 4,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._stub = market_pb2_grpc.MarketDataServiceStub(channel)
        self._vs_currency, self._timeout_seconds = vs_currency, timeout_seconds
        self._attempts, self._first_pause_seconds = attempts, first_pause_seconds

    async def fetch(self, ids: Sequence[str], days: int) -> History:
        """Return the last `days` closed days of each coin (0 for all).

        A coin that fails is in `problems` of the result.

        Raises:
            Unavailable: Every attempt failed.
        """
        spans, problems = await self._fetch(ids, days, market_pb2.CANDLE_INTERVAL_ONE_DAY)
        panel = {coin_id: _candles(coin_id, spans[coin_id]) for coin_id in sorted(spans)}
        panel = {coin_id: candles for coin_id, candles in panel.items() if len(candles)}
        return History(panel=panel, source=_source(spans), problems=problems)

    async def fetch_hourly(self, ids: Sequence[str], days: int) -> HourlyHistory:
        """Fetch the last `days` times 24 closed hours of each coin; 0 means all hours.

        Raises:
            Unavailable: Every attempt failed.
        """
        spans, problems = await self._fetch(ids, days, market_pb2.CANDLE_INTERVAL_ONE_HOUR)
        panel = {coin_id: hourly_candles(coin_id, spans[coin_id]) for coin_id in sorted(spans)}
        panel = {coin_id: candles for coin_id, candles in panel.items() if len(candles)}
        return HourlyHistory(panel=panel, source=_source(spans), problems=problems)

    async def fetch_hours_until(self, ids: Sequence[str], days: int, day: dt.date) -> HourlyHistory:
        """Fetch the hours of the last `days` days up to the close of `day`; 0 means all hours.

        Raises:
            Unavailable: Every attempt failed.
        """
        close = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tzinfo=dt.UTC)
        interval = market_pb2.CANDLE_INTERVAL_ONE_HOUR
        spans, problems = await self._fetch(ids, days, interval, until=close)
        panel = {coin_id: hourly_candles(coin_id, spans[coin_id]).until(close) for coin_id in sorted(spans)}
        panel = {coin_id: candles for coin_id, candles in panel.items() if len(candles)}
        return HourlyHistory(panel=panel, source=_source(spans), problems=problems)

    async def fetching(self) -> str:
        """Return what market data fetches now, in words; empty if that is nothing, or not known."""
        try:
            status = await self._stub.GetStatus(market_pb2.GetStatusRequest(), timeout=STATUS_SECONDS)
        except (grpc.aio.AioRpcError, CoincastError):
            return ""
        return status.queue.in_words

    async def _fetch(
        self,
        ids: Sequence[str],
        days: int,
        interval: market_pb2.CandleInterval.ValueType,
        *,
        until: dt.datetime | None = None,
    ) -> tuple[Spans, dict[str, str]]:
        """Fetch the parts of the histories of all coins; try again if the stream breaks."""
        for attempt in range(1, self._attempts + 1):
            try:
                return await self._fetch_once(ids, days, interval, until)
            except (Unavailable, Timeout) as error:
                if attempt == self._attempts:
                    raise Unavailable(
                        f"The market-data service gave no history after {attempt} attempts: {error}",
                        retry_after_seconds=30,
                    ) from error
                log.warning("history_retried", attempt=attempt, error=str(error))
                await asyncio.sleep(self._first_pause_seconds * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    async def _fetch_once(
        self,
        ids: Sequence[str],
        days: int,
        interval: market_pb2.CandleInterval.ValueType,
        until: dt.datetime | None,
    ) -> tuple[Spans, dict[str, str]]:
        spans: dict[str, list[market_pb2.History]] = defaultdict(list)
        problems: dict[str, str] = {}
        request = market_pb2.StreamHistoryRequest(
            ids=list(ids),
            vs_currency=self._vs_currency,
            days=days or MAX_DAYS,
            interval=interval,
            bulk=True,
        )
        if until is not None:
            # The request names the start of the last hour, not its end.
            request.to_time.FromDatetime(until - dt.timedelta(hours=1))
        try:
            async for reply in self._stub.StreamHistory(request, timeout=self._timeout_seconds):
                if reply.WhichOneof("chunk") == "error":
                    problems[reply.error.id] = reply.error.message
                else:
                    spans[reply.history.id].append(reply.history)
        except CoincastError:
            raise
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{error.code().name}: {error.details()}") from error
        return spans, problems


def _candles(coin_id: str, spans: list[market_pb2.History]) -> Candles:
    """Join the parts of a coin's history to candles; the last row of a day counts, an absent value is NaN."""
    by_day = {candle.date: candle for span in spans for candle in span.candles}
    candles = [by_day[day] for day in sorted(by_day)]

    def column(name: Figure) -> list[float]:
        return [getattr(candle, name) if candle.HasField(name) else float("nan") for candle in candles]

    return Candles.of(
        coin_id,
        [dt.date.fromisoformat(candle.date) for candle in candles],
        [candle.close for candle in candles],
        open=column("open"),
        high=column("high"),
        low=column("low"),
        volume=column("volume"),
    )


def hourly_candles(coin_id: str, spans: Sequence[market_pb2.History]) -> HourlyCandles:
    """Join the parts of a coin's hourly history to candles; the last row of an hour counts."""
    by_hour = {candle.start_unix_seconds: candle for span in spans for candle in span.hourly_candles}
    candles = [by_hour[hour] for hour in sorted(by_hour)]

    def column(name: Figure) -> list[float]:
        return [getattr(candle, name) if candle.HasField(name) else float("nan") for candle in candles]

    starts = np.array([candle.start_unix_seconds for candle in candles], dtype="datetime64[s]")
    return HourlyCandles.of(
        coin_id,
        starts,
        [candle.close for candle in candles],
        open=column("open"),
        high=column("high"),
        low=column("low"),
        volume=column("volume"),
    )


def _source(spans: Spans) -> str:
    """Return the source of a panel.

    If one coin is from the sandbox, the source of the panel is the sandbox.
    """
    sources = {span.provenance.source for parts in spans.values() for span in parts}
    worst = max(sources, default=common_pb2.SOURCE_UNSPECIFIED)
    return common_pb2.Source.Name(worst).removeprefix("SOURCE_").lower()
