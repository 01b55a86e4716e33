"""gRPC servicer: converts requests, calls the services and converts their results."""

# ruff: noqa: N802 - the methods have the names of the contract

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import grpc.aio

from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1 import market_pb2_grpc
from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_chassis.resilience.bounded_cache import BoundedCache
from coincast_market_data.catalogue.service import Catalogue
from coincast_market_data.domain import History
from coincast_market_data.grpc import arrow_encoder, batch, proto_mapping
from coincast_market_data.grpc.proto_mapping import EncodedPriceCache
from coincast_market_data.grpc.status import Status
from coincast_market_data.history.service import HistoryService, Span, chunks
from coincast_market_data.identifiers import split_ids
from coincast_market_data.item_errors import item_failure, raise_if_all_transient
from coincast_market_data.jobs.backfill import BackfillJob
from coincast_market_data.jobs.repair import RepairJob
from coincast_market_data.markets.service import MarketService
from coincast_market_data.passthrough.service import PassthroughService
from coincast_market_data.ports import Priority
from coincast_market_data.prices.service import PriceService
from coincast_market_data.prices.watch import PriceUpdate, PriceWatch

WithAge: TypeAlias = (
    pb.GetPricesRequest
    | pb.GetMarketsRequest
    | pb.GetHistoryRequest
    | pb.StreamHistoryRequest
    | pb.ListCoinsRequest
    | pb.ListVsCurrenciesRequest
    | pb.GetOhlcRequest
    | pb.GetDocumentRequest
)
# Memory of updates of price streams that are encoded for several subscribers.
MAX_ENCODED_BYTES = 32 * 1024 * 1024
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class Services:
    """The services behind the servicer."""

    prices: PriceService
    ready: EncodedPriceCache
    markets: MarketService
    catalogue: Catalogue
    history: HistoryService
    candles: proto_mapping.EncodedCandleCache
    documents: PassthroughService
    backfill: BackfillJob
    repair: RepairJob
    status: Status
    watch: PriceWatch


class MarketDataServicer(market_pb2_grpc.MarketDataServiceServicer):
    """Each method converts the request, awaits a service and converts its result."""

    def __init__(self, services: Services) -> None:
        self._all = services
        self._encoded: BoundedCache[int, tuple[PriceUpdate, pb.WatchPricesResponse]] = BoundedCache(
            max_bytes=MAX_ENCODED_BYTES, size_of=lambda found: 3 * found[1].ByteSize()
        )

    async def GetPrices(self, request: pb.GetPricesRequest, context: Context) -> pb.GetPricesResponse:
        """Serve spot prices."""
        return await self._prices(request)

    def GetPricesForMany(
        self, request: pb.GetPricesForManyRequest, context: Context
    ) -> AsyncIterator[pb.GetPricesForManyResponse]:
        """Serve spot prices for several callers, each as soon as it is ready."""
        return batch.stream_batch(request.questions, self._prices)

    async def _prices(self, request: pb.GetPricesRequest) -> pb.GetPricesResponse:
        key = request.SerializeToString()
        ready = self._all.ready.find(key)
        if ready is not None:
            return ready
        prices = await self._all.prices.get(request.ids, request.vs_currencies, _max_age(request))
        if not prices.prices:
            raise_if_all_transient(prices.failures)
        where = proto_mapping.prices_provenance(prices)
        if request.encode_json:
            reply = pb.GetPricesResponse(json=proto_mapping.prices_json(prices), provenance=where)
        else:
            reply = pb.GetPricesResponse(
                prices=[proto_mapping.price(item) for item in prices.prices],
                errors=[proto_mapping.item_error(failure) for failure in prices.failures],
                provenance=where,
            )
        self._all.ready.keep(key, reply, prices)
        return reply

    async def WatchPrices(
        self, request: pb.WatchPricesRequest, context: Context
    ) -> AsyncIterator[pb.WatchPricesResponse]:
        """Stream prices as they change."""
        updates = self._all.watch.subscribe(request.ids, request.vs_currencies, request.after_event_id)
        async with contextlib.aclosing(updates):
            async for update in updates:
                yield self._encode_update(update)

    def _encode_update(self, update: PriceUpdate) -> pb.WatchPricesResponse:
        """Encode an update once for all subscribers that share it."""
        found = self._encoded.get(id(update))
        if found is None:
            # The update is stored with its message, so that its id is not reused for another update.
            found = (update, proto_mapping.price_update(update))
            self._encoded.put(id(update), found)
        return found[1]

    async def GetMarkets(self, request: pb.GetMarketsRequest, context: Context) -> pb.GetMarketsResponse:
        """Serve the market table."""
        found = await self._all.markets.get(
            request.vs_currency, request.ids, request.page, request.per_page, _max_age(request)
        )
        where = proto_mapping.provenance(found.provenance)
        if request.encode_json:
            return pb.GetMarketsResponse(json=proto_mapping.markets_json(found), provenance=where)
        return pb.GetMarketsResponse(
            markets=[proto_mapping.market(row) for row in found.markets],
            errors=[proto_mapping.item_error(failure) for failure in found.failures],
            provenance=where,
        )

    async def ListCoins(self, request: pb.ListCoinsRequest, context: Context) -> pb.ListCoinsResponse:
        """Serve the catalogue."""
        coins, following, total, where = await self._all.catalogue.list(
            request.query, request.limit, request.page_token, _max_age(request)
        )
        return pb.ListCoinsResponse(
            coins=[proto_mapping.coin(coin) for coin in coins],
            next_page_token=following,
            total=total,
            provenance=proto_mapping.provenance(where),
        )

    async def ListVsCurrencies(
        self, request: pb.ListVsCurrenciesRequest, context: Context
    ) -> pb.ListVsCurrenciesResponse:
        """Serve the currency codes."""
        answer = await self._all.catalogue.currencies(_max_age(request))
        return pb.ListVsCurrenciesResponse(
            vs_currencies=answer.value, provenance=proto_mapping.provenance(answer.provenance)
        )

    async def GetHistory(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        """Serve the daily candles of one coin."""
        span, known_at = _span_of(request), _known_at(request)
        found = span.cut(await self._history(request, request.id, span, known_at))
        if request.encode_json:
            return pb.GetHistoryResponse(json=self._all.candles.history_json(found))
        reply = pb.GetHistoryResponse(history=proto_mapping.history(found))
        if request.HasField("known_at"):
            reply.history.known_at.CopyFrom(request.known_at)
        return reply

    async def StreamHistory(
        self, request: pb.StreamHistoryRequest, context: Context
    ) -> AsyncIterator[pb.StreamHistoryResponse]:
        """Stream daily or hourly candles of many coins, coin after coin."""
        ids, bad = split_ids(request.ids)
        weekly = set() if _is_hourly(request) or request.HasField("known_at") else set(request.sparkline_ids)
        sparklines = asyncio.create_task(
            self._all.history.fetch_sparklines([coin for coin in ids if coin in weekly], request.vs_currency)
        )
        week_after: float | None = None
        try:
            for text in [*ids, *bad]:
                if text in weekly and week_after is None:
                    week_after = await self._all.history.wait_for_sparklines(sparklines)
                try:
                    spans = self._spans(request, text, week_after if text in weekly else None)
                    async for span in spans:
                        message = pb.StreamHistoryResponse(history=await _encode_span(request, span))
                        if request.HasField("known_at"):
                            message.history.known_at.CopyFrom(request.known_at)
                        yield message
                except CoincastError as error:
                    failure = proto_mapping.item_error(item_failure(text, error))
                    yield pb.StreamHistoryResponse(error=failure)
                await asyncio.sleep(0)
        finally:
            sparklines.cancel()

    async def _history(
        self,
        request: pb.GetHistoryRequest | pb.StreamHistoryRequest,
        coin: str,
        span: Span,
        known_at: float | None,
        *,
        priority: Priority = Priority.HISTORY,
        stored_only: bool = False,
        week_after: float | None = None,
    ) -> History:
        """Return one coin's history, as far back as the span needs.

        Args:
            request: The request, with currency, interval and `max_age_seconds`.
            coin: The coin.
            span: The requested span.
            known_at: UNIX seconds of the past moment whose knowledge is requested; None for the present.
            priority: The priority of upstream calls.
            stored_only: Whether to return stored hours without fetching.
            week_after: How long to wait for a fetch before the week of the sparkline is used; None for never.

        Raises:
            CoincastError: The history cannot be served.
        """
        history, hourly = self._all.history, _is_hourly(request)
        moment = history.now() if known_at is None else known_at
        days = span.days_back(request.days, moment, hourly=hourly)
        currency, age = request.vs_currency, _max_age(request)
        if hourly:
            return await history.get_hours(
                coin,
                currency,
                days,
                age,
                priority,
                known_at=known_at,
                until=span.last,
                stored_only=stored_only,
            )
        return await history.get(
            coin,
            currency,
            days,
            age,
            priority,
            known_at=known_at,
            week_after=week_after,
            closes_first=request.closes_first,
        )

    async def _spans(
        self, request: pb.StreamHistoryRequest, coin: str, week_after: float | None
    ) -> AsyncIterator[History]:
        """Yield one coin's history in parts of a thousand candles, each with the provenance of the whole."""
        span = _span_of(request)
        whole = await self._history(
            request,
            coin,
            span,
            _known_at(request),
            priority=Priority.BULK if request.bulk else Priority.HISTORY,
            stored_only=request.stored_only,
            week_after=week_after,
        )
        for part in chunks(span.cut(whole)):
            yield part

    async def GetOhlc(self, request: pb.GetOhlcRequest, context: Context) -> pb.GetOhlcResponse:
        """Serve candles as CoinGecko's `ohlc` gives them."""
        coin, currency, answer = await self._all.documents.ohlc(
            request.id, request.vs_currency, request.days, _max_age(request)
        )
        return pb.GetOhlcResponse(
            id=coin,
            vs_currency=currency,
            candles=proto_mapping.ohlc(answer.value),
            provenance=proto_mapping.provenance(answer.provenance),
        )

    async def GetDocument(self, request: pb.GetDocumentRequest, context: Context) -> pb.GetDocumentResponse:
        """Serve a document of CoinGecko for the mirror."""
        answer = await self._all.documents.get(request.path, request.query, _max_age(request))
        return pb.GetDocumentResponse(
            json=answer.value,
            provenance=proto_mapping.provenance(answer.provenance),
            fresh_for_seconds=answer.fresh_for_seconds,
            error_status=answer.error_status,
            retry_after_seconds=answer.retry_after_seconds,
            headers=answer.headers,
        )

    async def Backfill(
        self, request: pb.BackfillRequest, context: Context
    ) -> AsyncIterator[pb.BackfillResponse]:
        """Fetch the candles that the archive lacks."""
        async for step in self._all.backfill.run(
            request.ids,
            request.vs_currency,
            request.days,
            refetch=request.refetch,
            hourly=request.interval == pb.CANDLE_INTERVAL_ONE_HOUR,
        ):
            yield proto_mapping.progress(step)

    async def Repair(self, request: pb.RepairRequest, context: Context) -> AsyncIterator[pb.RepairResponse]:
        """Check the archive again, and fetch implausible days again."""
        async for report in self._all.repair.run(request.ids, request.vs_currency, dry_run=request.dry_run):
            yield proto_mapping.repair_report(report)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """Serve the state of every component."""
        return await self._all.status.reply(request.quality_ids)


async def _encode_span(request: pb.StreamHistoryRequest, span: History) -> pb.History:
    """Return a span with its candles as messages, or as an Arrow record batch if the request wants it."""
    if not request.encode_arrow:
        return proto_mapping.history(span)
    message = proto_mapping.history(replace(span, candles=(), hours=None if span.hours is None else ()))
    message.arrow = await asyncio.to_thread(arrow_encoder.history_arrow, span)
    return message


def _is_hourly(request: pb.GetHistoryRequest | pb.StreamHistoryRequest) -> bool:
    return request.interval == pb.CANDLE_INTERVAL_ONE_HOUR


def _span_of(request: pb.GetHistoryRequest | pb.StreamHistoryRequest) -> Span:
    """Return the span of a request.

    Raises:
        InvalidInput: The span ends before it begins.
    """
    first = request.from_time.ToMicroseconds() / 1e6 if request.HasField("from_time") else None
    last = request.to_time.ToMicroseconds() / 1e6 if request.HasField("to_time") else None
    return Span(first, last)


def _known_at(request: pb.GetHistoryRequest | pb.StreamHistoryRequest) -> float | None:
    return request.known_at.ToMicroseconds() / 1e6 if request.HasField("known_at") else None


def _max_age(request: WithAge) -> float | None:
    if not request.HasField("max_age_seconds"):
        return None
    age = request.max_age_seconds
    if not math.isfinite(age) or age < 0:
        raise InvalidInput(
            f"max_age_seconds must be a finite number, 0 or more; {age} was given", field="max_age_seconds"
        )
    return age
