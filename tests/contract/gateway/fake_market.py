"""market-data as the gateway's tests need it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1 import common_pb2 as common
from coincast.market.v1 import market_pb2 as mk
from coincast.market.v1 import market_pb2_grpc as mk_rpc
from coincast_chassis.errors import NotFound
from coincast_chassis.json_numbers import round_numbers
from coincast_market_data import domain
from coincast_market_data.grpc import proto_mapping
from coincast_market_data.grpc.arrow_encoder import history_arrow
from coincast_market_data.grpc.batch import stream_batch
from tests.contract.gateway.fake_script import AS_OF, COINS, STANDING, Script, item_error, provenance


def encoded(document: dict[str, Any]) -> bytes:
    """A document as market-data-svc writes it: with rounded numbers."""
    return orjson.dumps(round_numbers(document))


class FakeMarket(mk_rpc.MarketDataServiceServicer):
    def __init__(self) -> None:
        self.script = Script()
        self.upstream_status = mk.UpstreamStatus(tried=True, available=True)
        self.queue = mk.QueueStatus()
        # Names that differ from the ids.
        self.names: dict[str, str] = {}
        self.documents: dict[str, Any] = {"ping": {"gecko_says": "(V3) To the Moon!"}}

    async def GetPrices(self, request: mk.GetPricesRequest, context: Any) -> mk.GetPricesResponse:
        await self.script.play(request)
        currencies = list(request.vs_currencies) or ["usd"]
        prices = [self._price(i, c) for i in request.ids if i in COINS for c in currencies]
        errors = [item_error(i) for i in request.ids if i not in COINS]
        body = encoded({"prices": prices, "errors": errors})
        return mk.GetPricesResponse(json=body, provenance=provenance())

    def GetPricesForMany(
        self, request: mk.GetPricesForManyRequest, context: Any
    ) -> AsyncIterator[mk.GetPricesForManyResponse]:
        return stream_batch(request.questions, lambda question: self.GetPrices(question, context))

    async def WatchPrices(self, request: mk.WatchPricesRequest, context: Any) -> Any:
        await self.script.play(request)
        errors = [
            common.ItemError(id=i, kind=common.ERROR_KIND_NOT_FOUND, message=f"No coin has the id {i}.")
            for i in request.ids
            if i not in COINS
        ]
        for event_id in range(request.after_event_id + 1, request.after_event_id + 3):
            prices = [
                mk.Price(id=i, vs_currency="usd", price=COINS[i] + event_id, provenance=provenance())
                for i in request.ids
                if i in COINS
            ]
            yield mk.WatchPricesResponse(event_id=event_id, prices=prices, errors=errors)
            yield mk.WatchPricesResponse(event_id=event_id, heartbeat=True)
        while self.script.hold_streams:  # noqa: ASYNC110 - a flag that the test clears
            await asyncio.sleep(0.05)

    @staticmethod
    def _price(coin_id: str, currency: str) -> dict[str, Any]:
        return {
            "id": coin_id,
            "vs_currency": currency,
            "price": COINS[coin_id],
            "market_cap": None,
            "volume_24h": 1e9,
            "change_24h_percent": 1.5,
            "last_updated_at": "2023-11-14T22:13:20Z",
            **STANDING,
        }

    async def GetMarkets(self, request: mk.GetMarketsRequest, context: Any) -> mk.GetMarketsResponse:
        await self.script.play(request)
        names = list(mk.Market.DESCRIPTOR.fields_by_name)
        wanted = [i for i in request.ids if i in COINS] if request.ids else list(COINS)
        markets = [
            {
                **dict.fromkeys(names),
                "id": i,
                "symbol": i[:3],
                "name": self.names.get(i, i.title()),
                "vs_currency": request.vs_currency,
                **STANDING,
            }
            for i in wanted
        ]
        errors = [item_error(i) for i in request.ids if i not in COINS]
        body = encoded({"markets": markets, "errors": errors})
        return mk.GetMarketsResponse(json=body, provenance=provenance())

    async def ListCoins(self, request: mk.ListCoinsRequest, context: Any) -> mk.ListCoinsResponse:
        await self.script.play(request)
        found = [
            mk.Coin(id=i, symbol=i[:3], name=self.names.get(i, i.title()))
            for i in COINS
            if request.query.lower() in i
        ]
        return mk.ListCoinsResponse(
            coins=found[: request.limit or 100], total=len(found), provenance=provenance()
        )

    async def ListVsCurrencies(self, request: Any, context: Any) -> mk.ListVsCurrenciesResponse:
        await self.script.play(request)
        return mk.ListVsCurrenciesResponse(vs_currencies=["usd", "eur"], provenance=provenance())

    async def GetHistory(self, request: mk.GetHistoryRequest, context: Any) -> mk.GetHistoryResponse:
        await self.script.play(request)
        if request.id not in COINS:
            raise NotFound(f"No coin has the id {request.id}.", field="id", suggestions=["bitcoin"])
        count = min(request.days, 60)
        days = [date(2023, 11, 13) - timedelta(days=count - 1 - i) for i in range(count)]
        rest = {"open": None, "high": None, "low": None, "volume": 1e9, "market_cap": None}
        candles = [
            {"date": d.isoformat(), "close": 36_500.0 + 400 * math.sin(i), **rest} for i, d in enumerate(days)
        ]
        hourly = request.interval == mk.CANDLE_INTERVAL_ONE_HOUR
        if hourly:
            figures = {"open": None, "high": None, "low": None, "close": 36_500.0, "volume": 1e6}
            candles = [
                {"time": f"{day.isoformat()}T{hour:02d}:00:00Z", **figures}
                for day in days
                for hour in range(24)
            ]
        document = {
            "id": request.id,
            "vs_currency": request.vs_currency,
            "candles": candles,
            "truncated": False,
            "truncated_reason": None,
            "missing_dates": [],
            "completeness": "whole",
            "partial_reason": None,
            "retry_after_seconds": None,
            "quality_notes": [],
            "in_doubt": False,
            "interval": "1h" if hourly else "1d",
            **STANDING,
        }
        return mk.GetHistoryResponse(json=encoded(document))

    async def StreamHistory(
        self, request: mk.StreamHistoryRequest, context: Any
    ) -> AsyncIterator[mk.StreamHistoryResponse]:
        await self.script.play(request)
        for coin in request.ids:
            if coin not in COINS:
                error = common.ItemError(
                    id=coin, kind=common.ERROR_KIND_NOT_FOUND, message=f"No coin has the id {coin}."
                )
                yield mk.StreamHistoryResponse(error=error)
                continue
            found = self.history_of(coin, request)
            for start in range(0, max(len(found.candles), len(found.hours or ())), 1000):
                span = replace(
                    found,
                    candles=found.candles[start : start + 1000],
                    hours=None if found.hours is None else found.hours[start : start + 1000],
                )
                message = proto_mapping.history(replace(span, candles=(), hours=None))
                message.arrow = history_arrow(span)
                yield mk.StreamHistoryResponse(history=message)

    def history_of(self, coin: str, request: mk.StreamHistoryRequest) -> domain.History:
        """Return a coin's days or hours up to 2023-11-13."""
        last = date(2023, 11, 13)
        hourly = request.interval == mk.CANDLE_INTERVAL_ONE_HOUR
        count = min(request.days, 400)
        end = AS_OF // 86_400 * 86_400
        hours = [
            domain.HourlyCandle(end - 3600 * n, COINS[coin] + n, volume=1e6)
            for n in range(24 * min(count, 100), 0, -1)
        ]
        candles = [
            domain.Candle(day=last - timedelta(days=n), close=COINS[coin] + n, volume=1e9)
            for n in range(count - 1, -1, -1)
        ]
        return domain.History(
            id=coin,
            vs_currency=request.vs_currency,
            candles=() if hourly else candles,
            hours=hours if hourly else None,
            provenance=domain.Provenance(float(end), 1.5, domain.Source.SANDBOX),
        )

    async def GetOhlc(self, request: mk.GetOhlcRequest, context: Any) -> mk.GetOhlcResponse:
        await self.script.play(request)
        if request.id not in COINS:
            raise NotFound(f"No coin has the id {request.id}.", field="id", suggestions=["bitcoin"])
        candle = mk.OhlcCandle(closed_at=Timestamp(seconds=AS_OF), open=1, high=3, low=1, close=2)
        return mk.GetOhlcResponse(
            id=request.id, vs_currency=request.vs_currency, candles=[candle], provenance=provenance()
        )

    async def GetDocument(self, request: mk.GetDocumentRequest, context: Any) -> mk.GetDocumentResponse:
        await self.script.play(request)
        document = self.documents.get(request.path)
        if document is None:
            raise NotFound("coin not found", field="id")
        return mk.GetDocumentResponse(
            json=orjson.dumps(document), provenance=provenance(), fresh_for_seconds=5.0
        )

    async def GetStatus(self, request: Any, context: Any) -> mk.GetStatusResponse:
        await self.script.play(request)
        return mk.GetStatusResponse(
            upstream="sandbox",
            upstream_status=self.upstream_status,
            queue=self.queue,
            plan="demo",
            redis_up=True,
            version="1",
            uptime_seconds=3,
            quality=[
                mk.QualityReport(
                    id=coin_id,
                    vs_currency="usd",
                    missing_days=1,
                    last_good_date="2023-11-13",
                    notes=["One day is missing."],
                )
                for coin_id in request.quality_ids
                if coin_id in COINS
            ],
        )
