"""Client of market-data-svc, which batches small price requests.

A gRPC call costs the gateway more than the rest of a price request. If no call is in flight, a request is
sent at once. Otherwise requests wait until that call has sent its first answers, for 4 ms at most, and are
then sent as one batch. Each request of a batch is answered as soon as its response arrives, so a slow one
does not delay the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import grpc.aio
import orjson

from coincast.common.v1 import process_pb2
from coincast.common.v1 import process_pb2_grpc as process_rpc
from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1 import market_pb2_grpc as rpc
from coincast_chassis import context
from coincast_chassis.errors import CoincastError, NotFound, Unavailable
from coincast_chassis.item_errors import from_item_error
from coincast_chassis.observability.tracing import outgoing_traceparent
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_gateway.clients.resilient import ResilientStub

# The most prices (coins times currencies) of one batched request, and the most requests of a batch. With
# both, a full batch stays far below the size limit of a message.
MAX_ROWS = 20
MAX_BATCH = 64
# The longest time that a request waits for the first answer of an earlier call.
WAIT_SECONDS = 0.004
UNANSWERED = "market-data did not answer the request."


class GetPricesForManyCall(Protocol):
    """GetPricesForMany on a channel of the chassis."""

    def __call__(
        self,
        request: pb.GetPricesForManyRequest,
        *,
        timeout: float,
    ) -> AsyncIterable[pb.GetPricesForManyResponse]:
        """Call GetPricesForMany and iterate over the answers as they arrive."""


class GetPricesCall(Protocol):
    """GetPrices on a channel of the chassis."""

    def __call__(
        self,
        request: pb.GetPricesRequest,
        *,
        timeout: float,
    ) -> Awaitable[pb.GetPricesResponse]:
        """Call GetPrices."""


@dataclass(slots=True)
class PendingRequest:
    """A request that waits for its response, with the ids of the caller's request and trace."""

    request: pb.GetPricesRequest
    answer: asyncio.Future[pb.GetPricesResponse]
    request_id: str = field(default_factory=context.request_id)
    traceparent: str = field(default_factory=outgoing_traceparent)

    def settle(self, outcome: pb.GetPricesResponse | CoincastError) -> None:
        """Set the outcome, unless the caller was cancelled or an outcome is already set."""
        if self.answer.done():
            return
        if isinstance(outcome, CoincastError):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class PriceRequestBatcher:
    """Batches price requests; one per channel. It is called like GetPrices and raises the same errors.

    Args:
        get_prices: GetPrices on the channel, for single requests.
        get_prices_for_many: GetPricesForMany on the channel, for batches.
        seconds: The deadline of a call.
    """

    def __init__(
        self, get_prices: GetPricesCall, get_prices_for_many: GetPricesForManyCall, *, seconds: float
    ) -> None:
        self._get_prices = get_prices
        self._get_prices_for_many = get_prices_for_many
        self._seconds = seconds
        self._waiting: list[PendingRequest] = []
        self._scheduled: asyncio.Handle | None = None
        self._calls: set[asyncio.Task[None]] = set()
        # The calls in flight that have not answered any request yet. New requests wait for them.
        self._awaited: set[asyncio.Task[None]] = set()

    async def __call__(
        self,
        request: pb.GetPricesRequest,
        *,
        timeout: float,  # noqa: ASYNC109 - gRPC's own name for it
    ) -> pb.GetPricesResponse:
        """Fetch prices. A large request, or one with a shorter deadline, is sent as a call of its own.

        Args:
            request: The coins and currencies.
            timeout: The deadline in seconds.

        Raises:
            CoincastError: As GetPrices raises it.
        """
        if timeout < self._seconds or len(request.ids) * max(1, len(request.vs_currencies)) > MAX_ROWS:
            return await self._get_prices(request, timeout=timeout)
        loop = asyncio.get_running_loop()
        pending = PendingRequest(request, loop.create_future())
        self._waiting.append(pending)
        if len(self._waiting) >= MAX_BATCH:
            self._send_batch()
        elif self._scheduled is None and not self._awaited:
            self._scheduled = loop.call_soon(self._send_batch)
        return await pending.answer

    def _send_batch(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        batch = [pending for pending in self._waiting if not pending.answer.done()]
        self._waiting = []
        if not batch:
            return
        loop = asyncio.get_running_loop()
        call = loop.create_task(self._call(batch), context=context.detached())
        self._calls.add(call)
        self._awaited.add(call)
        call.add_done_callback(self._call_ended)
        loop.call_later(WAIT_SECONDS, self._stop_waiting_for, call)

    def _stop_waiting_for(self, call: asyncio.Task[None]) -> None:
        """Stop delaying new requests for a call, and send the waiting ones unless another call delays them.

        It is called when the call has answered its first request, has ended, or takes longer than
        `WAIT_SECONDS`.
        """
        self._awaited.discard(call)
        if self._waiting and not self._awaited:
            self._send_batch()

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._stop_waiting_for(call)

    async def _call(self, batch: list[PendingRequest]) -> None:
        failure: CoincastError | None = None
        try:
            if len(batch) == 1:
                await self._call_single(batch[0])
            else:
                await self._call_batch(batch)
        except CoincastError as error:
            failure = error
        finally:
            for pending in batch:
                if not pending.answer.done():
                    pending.settle(failure or Unavailable(UNANSWERED, retry_after_seconds=1.0))

    async def _call_single(self, pending: PendingRequest) -> None:
        with context.bind(request_id=pending.request_id):
            pending.settle(await self._get_prices(pending.request, timeout=self._seconds))

    async def _call_batch(self, batch: list[PendingRequest]) -> None:
        questions = [
            pb.PricesQuestion(request=q.request, request_id=q.request_id, traceparent=q.traceparent)
            for q in batch
        ]
        request, call = pb.GetPricesForManyRequest(questions=questions), asyncio.current_task()
        answers = aiter(self._get_prices_for_many(request, timeout=self._seconds))
        async with aclosing(answers) as stream:  # type: ignore[type-var]  # a channel's streams are generators
            async for ready in stream:
                for each in ready.answers:
                    failed = each.WhichOneof("outcome") == "error"
                    outcome = from_item_error(each.error) if failed else each.response
                    batch[each.question].settle(outcome)
                if call is not None:
                    self._stop_waiting_for(call)

    async def aclose(self) -> None:
        """Cancel the calls in flight."""
        await cancel_and_wait(list(self._calls))


SERVICE = "coincast.market.v1.MarketDataService"


class MarketClient:
    """Client of market-data-svc; each method is one call.

    Where market-data-svc can encode a response as JSON, its bytes are requested, so that the gateway passes
    them through.
    """

    def __init__(self, channel: grpc.aio.Channel, backend: ResilientStub) -> None:
        self._stub: rpc.MarketDataServiceAsyncStub = rpc.MarketDataServiceStub(channel)
        self._price_batcher = PriceRequestBatcher(
            self._stub.GetPrices, self._stub.GetPricesForMany, seconds=backend.deadline_seconds
        )
        self._process: process_rpc.ProcessServiceAsyncStub = process_rpc.ProcessServiceStub(channel)
        self.backend = backend

    async def prices(self, ids: list[str], vs_currencies: tuple[str, ...]) -> pb.GetPricesResponse:
        """Fetch spot prices as encoded JSON."""
        request = pb.GetPricesRequest(ids=ids, vs_currencies=vs_currencies, encode_json=True)
        return await self.backend.call(self._price_batcher, request)

    async def unknown_coins(self, ids: list[str]) -> list[dict[str, Any]]:
        """Return an item error, with the nearest coins, for each id that no coin has.

        For replies that do not say whether there is such a coin: an empty log looks the same for both. Where
        the service does not answer, nothing is known against an id.
        """
        try:
            response = await self.prices(ids, ("usd",))
        except NotFound as error:
            return [
                {
                    "id": each,
                    "kind": "not_found",
                    "message": error.message,
                    "field": "ids",
                    "suggestions": list(error.suggestions),
                    "retry_after_seconds": None,
                }
                for each in ids
            ]
        except CoincastError:
            return []
        errors: list[dict[str, Any]] = orjson.loads(response.json)["errors"]
        return [error for error in errors if error["kind"] == "not_found"]

    async def watch_prices(
        self, ids: list[str], vs_currencies: tuple[str, ...], after_event_id: int
    ) -> AsyncIterator[pb.WatchPricesResponse]:
        """Yield changes of prices until the caller closes the generator; the stream has no deadline.

        Args:
            ids: The coins.
            vs_currencies: The currencies.
            after_event_id: The id of the last event that the caller has seen; 0 for none.
        """
        request = pb.WatchPricesRequest(ids=ids, vs_currencies=vs_currencies, after_event_id=after_event_id)
        # The channel of the chassis returns a generator, which ends the call when it is closed.
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
        """Fetch daily or hourly candles as encoded JSON.

        Args:
            coin_id: The coin.
            vs_currency: The currency.
            days: How many days back.
            hourly: Fetch hourly candles, not daily ones.
            known_at: Fetch the candles as they were known at this moment; by default the current ones.
        """
        request = pb.GetHistoryRequest(id=coin_id, vs_currency=vs_currency, days=days, encode_json=True)
        if hourly:
            request.interval = pb.CANDLE_INTERVAL_ONE_HOUR
        if known_at is not None:
            request.known_at.FromDatetime(known_at)
        return await self.backend.call(self._stub.GetHistory, request)

    def histories(self, request: pb.StreamHistoryRequest) -> AsyncIterator[pb.StreamHistoryResponse]:
        """Stream the histories of many coins, one coin after the other, without a deadline."""
        return self.backend.watch(self._stub.StreamHistory, request)

    async def ohlc(self, coin_id: str, vs_currency: str, days: int) -> pb.GetOhlcResponse:
        """Fetch candles of CoinGecko's intervals: 30 minutes to 4 days, depending on `days`."""
        return await self.backend.call(
            self._stub.GetOhlc, pb.GetOhlcRequest(id=coin_id, vs_currency=vs_currency, days=days)
        )

    async def quality(self, coin_id: str) -> pb.GetStatusResponse:
        """Fetch the status with the data-quality reports of one coin, one for each currency."""
        return await self.backend.call(self._stub.GetStatus, pb.GetStatusRequest(quality_ids=[coin_id]))

    async def document(self, path: str, query: dict[str, str]) -> pb.GetDocumentResponse:
        """Fetch the response of a CoinGecko path, for the mirror."""
        return await self.backend.call(self._stub.GetDocument, pb.GetDocumentRequest(path=path, query=query))

    async def status(self, deadline_seconds: float) -> pb.GetStatusResponse:
        """Fetch the state of connection pool, breakers, cache and quota."""
        return await self.backend.probe(
            self._stub.GetStatus, pb.GetStatusRequest(), deadline_seconds=deadline_seconds
        )

    async def process(self, deadline_seconds: float) -> process_pb2.GetProcessResponse:
        """Fetch the resource use of the service's process."""
        request = process_pb2.GetProcessRequest()
        return await self.backend.probe(self._process.GetProcess, request, deadline_seconds=deadline_seconds)

    async def aclose(self) -> None:
        """Cancel the calls in flight."""
        await self._price_batcher.aclose()
