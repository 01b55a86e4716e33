"""Client of market-data-svc."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

import grpc.aio

from coincast.common.v1 import process_pb2
from coincast.common.v1 import process_pb2_grpc as process_rpc
from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1 import market_pb2_grpc as rpc
from coincast_gateway.clients.price_batcher import PriceRequestBatcher
from coincast_gateway.clients.resilient import ResilientStub

SERVICE = "coincast.market.v1.MarketDataService"


class MarketClient:
    """Each method is one call; where market-data-svc can encode JSON itself, encoded bytes are requested."""

    def __init__(self, channel: grpc.aio.Channel, backend: ResilientStub) -> None:
        self._stub: rpc.MarketDataServiceAsyncStub = rpc.MarketDataServiceStub(channel)
        self._together = PriceRequestBatcher(
            self._stub.GetPrices, self._stub.GetPricesForMany, seconds=backend.deadline_seconds
        )
        self._process: process_rpc.ProcessServiceAsyncStub = process_rpc.ProcessServiceStub(channel)
        self.backend = backend

    async def prices(self, ids: list[str], vs_currencies: tuple[str, ...]) -> pb.GetPricesResponse:
        """Fetch spot prices as encoded JSON."""
        request = pb.GetPricesRequest(ids=ids, vs_currencies=vs_currencies, encode_json=True)
        return await self.backend.call(self._together, request)

    async def watch_prices(
        self, ids: list[str], vs_currencies: tuple[str, ...], after_event_id: int
    ) -> AsyncIterator[pb.WatchPricesResponse]:
        """Yield the changes of prices until the caller leaves; the stream has no deadline."""
        request = pb.WatchPricesRequest(ids=ids, vs_currencies=vs_currencies, after_event_id=after_event_id)
        # The channel of the chassis gives a generator, which ends the call when it is closed.
        updates: Any = self._stub.WatchPrices(request)
        async with aclosing(updates):
            async for update in updates:
                yield update

    async def markets(
        self, vs_currency: str, ids: list[str], page: int, per_page: int
    ) -> pb.GetMarketsResponse:
        """Fetch a page of the market table as encoded JSON."""
        request = pb.GetMarketsRequest(
            vs_currency=vs_currency, ids=ids, page=page, per_page=per_page, encode_json=True
        )
        return await self.backend.call(self._stub.GetMarkets, request)

    async def coins(self, query: str, limit: int, page_token: str) -> pb.ListCoinsResponse:
        """Fetch a page of the catalogue."""
        request = pb.ListCoinsRequest(query=query, limit=limit, page_token=page_token)
        return await self.backend.call(self._stub.ListCoins, request)

    async def vs_currencies(self) -> pb.ListVsCurrenciesResponse:
        """List the currencies in which prices are quoted."""
        return await self.backend.call(self._stub.ListVsCurrencies, pb.ListVsCurrenciesRequest())

    async def history(
        self,
        coin_id: str,
        vs_currency: str,
        days: int,
        *,
        hourly: bool = False,
        known_at: datetime | None = None,
    ) -> pb.GetHistoryResponse:
        """Return daily or hourly candles as JSON, as they were known at a moment where one is given."""
        request = pb.GetHistoryRequest(id=coin_id, vs_currency=vs_currency, days=days, encode_json=True)
        if hourly:
            request.interval = pb.CANDLE_INTERVAL_ONE_HOUR
        if known_at is not None:
            request.known_at.FromDatetime(known_at)
        return await self.backend.call(self._stub.GetHistory, request)

    def histories(self, request: pb.StreamHistoryRequest) -> AsyncIterator[pb.StreamHistoryResponse]:
        """Stream the histories of many coins, coin after coin, for as long as that takes."""
        return self.backend.watch(self._stub.StreamHistory, request)

    async def ohlc(self, coin_id: str, vs_currency: str, days: int) -> pb.GetOhlcResponse:
        """Fetch intraday to four-day candles."""
        return await self.backend.call(
            self._stub.GetOhlc, pb.GetOhlcRequest(id=coin_id, vs_currency=vs_currency, days=days)
        )

    async def quality(self, coin_id: str) -> pb.GetStatusResponse:
        """Return the data quality of one coin, a report for each currency."""
        return await self.backend.call(self._stub.GetStatus, pb.GetStatusRequest(quality_ids=[coin_id]))

    async def document(self, path: str, query: dict[str, str]) -> pb.GetDocumentResponse:
        """Fetch a CoinGecko document."""
        return await self.backend.call(self._stub.GetDocument, pb.GetDocumentRequest(path=path, query=query))

    async def status(self, deadline_seconds: float) -> pb.GetStatusResponse:
        """Return the state of pool, breakers, cache and quota."""
        return await self.backend.probe(
            self._stub.GetStatus, pb.GetStatusRequest(), deadline_seconds=deadline_seconds
        )

    async def process(self, deadline_seconds: float) -> process_pb2.GetProcessResponse:
        """Return the resource use of the service's process."""
        request = process_pb2.GetProcessRequest()
        return await self.backend.probe(self._process.GetProcess, request, deadline_seconds=deadline_seconds)

    async def aclose(self) -> None:
        """Cancel the calls in flight."""
        await self._together.aclose()
