"""Spot prices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from coincast.market.v1 import market_pb2 as pb
from coincast_gateway.auth.authenticator import READ
from coincast_gateway.cache.response_cache import cached
from coincast_gateway.dependencies import Config, Market, Streams
from coincast_gateway.errors.partial_results import (
    as_of,
    malformed_id_errors,
    refuse_if_all_failed,
    render_cacheable,
    with_errors,
)
from coincast_gateway.errors.problems import NOT_FOUND, service_responses
from coincast_gateway.formats.csv import rows_of
from coincast_gateway.formats.negotiation import csv_rows
from coincast_gateway.formats.sse import Events, json_event
from coincast_gateway.rendering import RenderedResponse
from coincast_gateway.schemas.parameters import split_ids
from coincast_gateway.schemas.requests.market import PricesQuery
from coincast_gateway.schemas.responses.market import Prices
from coincast_gateway.serialization import item_error, provenance_fields, to_dict

router = APIRouter(tags=["market"], dependencies=[READ])


@router.get(
    "/prices",
    operation_id="prices",
    summary="Spot prices of up to 250 coins",
    response_model=Prices,
    responses=service_responses(NOT_FOUND),
)
@cached(shared=True)
@csv_rows(rows_of("prices"))
async def get_prices(
    query: Annotated[PricesQuery, Query()], market: Market, settings: Config
) -> RenderedResponse:
    """Return the latest price of each coin in each currency; coins that cannot be served are in `errors`."""
    good, bad = split_ids(query.ids)
    if not good:
        refuse_if_all_failed(0, malformed_id_errors(bad))
    response = await market.prices(good, query.vs_currencies)
    # The response of market-data-svc is JSON already, which is passed through.
    body = with_errors(response.json, "prices", bad)
    return render_cacheable(body, settings.prices_fresh_seconds, as_of(response.provenance))


def price_row(price: pb.Price) -> dict[str, Any]:
    """Return a price as a row of `/prices`."""
    row = to_dict(price)
    del row["provenance"]
    return {**row, **provenance_fields(price.provenance)}


async def watch_prices(
    market: Market, query: PricesQuery, after_event_id: int
) -> AsyncIterator[ServerSentEvent]:
    """Yield an event for each change of a watched price; the first one names the ids that no coin can have.

    Heartbeats of market-data-svc are dropped, since FastAPI sends keep-alive comments itself.
    """
    ids, bad = split_ids(query.ids)
    malformed_ids = malformed_id_errors(bad)
    async for update in market.watch_prices(ids, query.vs_currencies, after_event_id):
        if update.heartbeat:
            continue
        document = {
            "prices": [price_row(price) for price in update.prices],
            "errors": [*(item_error(error) for error in update.errors), *malformed_ids],
        }
        malformed_ids = []
        yield json_event("prices", document, event_id=str(update.event_id))


async def price_event_stream(
    query: Annotated[PricesQuery, Query()],
    market: Market,
    streams: Streams,
    request: Request,
    last_event_id: Annotated[
        str, Header(max_length=20, description="Continue after this event; browsers send it by themselves.")
    ] = "",
) -> AsyncIterator[Events]:
    """Open the stream of price changes, or raise the problem that prevents it."""
    good, bad = split_ids(query.ids)
    if not good:
        refuse_if_all_failed(0, malformed_id_errors(bad))
    after = int(last_event_id) if last_event_id.isdecimal() else 0
    source = watch_prices(market, query, min(after, 2**63))
    async with streams.open(source, path=request.url.path) as events:
        yield events


@router.get(
    "/prices/stream",
    operation_id="prices_stream",
    summary="Prices as they change, as server-sent events",
    response_class=EventSourceResponse,
    responses=service_responses(NOT_FOUND),
)
async def stream_prices(
    events: Annotated[Events, Depends(price_event_stream)],
) -> AsyncIterator[ServerSentEvent]:
    """Send all watched prices at once, then only those that change.

    The data of a `prices` event is `{"prices": [...], "errors": [...]}` with rows as in `/prices`. One poll
    of the upstream serves all subscribers.
    """
    async for event in events:
        yield event
