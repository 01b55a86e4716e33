"""A market-data service that serves a panel over gRPC in this process."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2, market_pb2_grpc
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.run import serve
from coincast_chassis.settings import ServiceSettings
from coincast_modelkit.candles import Candles, Panel
from coincast_training.scoring.source_calendar import REACH_DAYS

SPAN = 500


class PanelMarket(market_pb2_grpc.MarketDataServiceServicer):
    """Streams a panel in spans; breaks off in the middle as often as configured first. What asks only for the
    source's day is let through: it comes when it likes, and would use the breaks up.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel, self.breaks, self.calls = panel, 0, 0

    async def StreamHistory(self, request, context):
        self.calls += 1
        sent = 0
        for coin_id in request.ids:
            if coin_id not in self.panel:
                error = common_pb2.ItemError(
                    id=coin_id, kind=common_pb2.ERROR_KIND_NOT_FOUND, message=f"No {coin_id}."
                )
                yield market_pb2.StreamHistoryResponse(error=error)
                continue
            candles = self.panel[coin_id].tail(request.days)
            for start in range(0, len(candles), SPAN):
                if self.breaks and sent and request.days != REACH_DAYS:
                    self.breaks -= 1
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broke off")
                sent += 1
                yield market_pb2.StreamHistoryResponse(
                    history=_history(candles.rows(start, min(len(candles), start + SPAN)))
                )


def _history(candles: Candles) -> market_pb2.History:
    history = market_pb2.History(id=candles.coin_id, vs_currency="usd")
    history.provenance.source = common_pb2.SOURCE_ARCHIVE
    for row in range(len(candles)):
        candle = history.candles.add(date=str(candles.dates[row]), close=candles.close[row])
        for name in ("open", "high", "low", "volume"):
            value = float(getattr(candles, name)[row])
            if not math.isnan(value):
                setattr(candle, name, value)
    return history


@asynccontextmanager
async def market_service(market: PanelMarket) -> AsyncIterator[str]:
    """The service at the address it yields."""

    async def build(settings, stack):
        entry = Servicer(
            market_pb2_grpc.add_MarketDataServiceServicer_to_server,
            market,
            "coincast.market.v1.MarketDataService",
        )
        return ServiceApp(servicers=[entry])

    async with serve("market", ServiceSettings(port=0, not_serving_seconds=0), build) as address:
        yield address
