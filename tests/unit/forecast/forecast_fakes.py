"""Stand-ins for the world around the forecast service."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import numpy as np

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2
from coincast.market.v1.market_pb2_grpc import (
    MarketDataServiceServicer,
    add_MarketDataServiceServicer_to_server,
)
from coincast_chassis.grpc.health import Health
from coincast_chassis.grpc.server import SERVER_OPTIONS
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import REFERENCE_COINS

LAST_DAY = dt.date(2025, 8, 31)
COINS = (*REFERENCE_COINS, "dogecoin", "tether")


def walk(coin_id: str, days: int = 500, last: dt.date = LAST_DAY, seed: int | None = None) -> Candles:
    """A coin's random walk of daily candles."""
    rng = np.random.default_rng(sum(map(ord, coin_id)) if seed is None else seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.03, days)))
    spread = np.abs(rng.normal(0, 0.02, days))
    dates = np.datetime64(last, "D") - np.arange(days)[::-1].astype("timedelta64[D]")
    before = np.concatenate([close[:1], close[:-1]])
    return Candles.of(
        coin_id,
        dates,
        close,
        open=before,
        high=np.maximum(before, close) * (1 + spread),
        low=np.minimum(before, close) * (1 - spread),
        volume=rng.uniform(1e6, 2e6, days),
    )


class FakeMarket(MarketDataServiceServicer):
    """market-data-svc with histories made up here; every fault can be switched on while it runs."""

    def __init__(self, coins: Mapping[str, Candles] | None = None) -> None:
        self.coins = dict(coins) if coins is not None else {coin: walk(coin) for coin in COINS}
        self.calls: list[tuple[str, tuple[str, ...], int]] = []
        self.delay_seconds = 0.0
        self.abort: grpc.StatusCode | None = None
        self.source = common_pb2.SOURCE_LIVE

    def next_day(self) -> None:
        """Another day closes, for all coins."""
        for coin, candles in self.coins.items():
            self.coins[coin] = walk(coin, len(candles) + 1, candles.as_of + dt.timedelta(days=1))

    async def GetHistory(self, request: Any, context: Any) -> market_pb2.GetHistoryResponse:
        self.calls.append(("GetHistory", (request.id,), request.days))
        await self._faults(context)
        if request.id not in self.coins:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no coin {request.id}")
        return market_pb2.GetHistoryResponse(history=self._history(request.id, request.days))

    async def StreamHistory(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.calls.append(("StreamHistory", tuple(request.ids), request.days))
        await self._faults(context)
        for coin in request.ids:
            if coin not in self.coins:
                error = common_pb2.ItemError(
                    id=coin,
                    kind=common_pb2.ERROR_KIND_NOT_FOUND,
                    message=f"there is no coin {coin}",
                    field="ids",
                    suggestions=["bitcoin"],
                )
                yield market_pb2.StreamHistoryResponse(error=error)
                continue
            whole = self._history(coin, request.days)
            for part in _spans(whole, 400):
                yield market_pb2.StreamHistoryResponse(history=part)

    async def _faults(self, context: Any) -> None:
        await asyncio.sleep(self.delay_seconds)
        if self.abort is not None:
            await context.abort(self.abort, "switched off")

    def _history(self, coin: str, days: int) -> market_pb2.History:
        candles = self.coins[coin].tail(days)
        history = market_pb2.History(id=coin, vs_currency="usd")
        history.provenance.source = self.source
        for i, day in enumerate(candles.dates):
            history.candles.add(
                date=str(day),
                open=candles.open[i],
                high=candles.high[i],
                low=candles.low[i],
                close=candles.close[i],
                volume=candles.volume[i],
            )
        return history


def _spans(whole: market_pb2.History, size: int) -> Iterator[market_pb2.History]:
    for start in range(0, len(whole.candles), size):
        part = market_pb2.History(id=whole.id, vs_currency=whole.vs_currency, provenance=whole.provenance)
        part.candles.extend(whole.candles[start : start + size])
        yield part


@asynccontextmanager
async def market_server(market: FakeMarket, port: int = 0) -> AsyncIterator[str]:
    """The fake on a port of 127.0.0.1; its address."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_MarketDataServiceServicer_to_server(market, server)
    health = Health(["coincast.market.v1.MarketDataService"])
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await health.join(server)
    await server.start()
    await health.serving(True)
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(None)


def dates(candles: Sequence[Any]) -> list[str]:
    """The dates of protobuf candles."""
    return [candle.date for candle in candles]


async def _serve_for_ever() -> None:
    async with market_server(FakeMarket()) as address:
        print(address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_for_ever())
