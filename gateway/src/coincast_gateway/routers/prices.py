"""Spot prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from coincast_gateway.auth.dependencies import READ
from coincast_gateway.cache.declaration import cached
from coincast_gateway.dependencies import Config, Market
from coincast_gateway.errors.partial_results import (
    as_of,
    malformed,
    refuse_if_all_failed,
    render_cacheable,
    with_errors,
)
from coincast_gateway.errors.problems import NOT_FOUND, service_responses
from coincast_gateway.formats.csv import csv_rows, rows_of
from coincast_gateway.rendering import RenderedResponse
from coincast_gateway.schemas.fields import split_ids
from coincast_gateway.schemas.requests.market import PricesQuery
from coincast_gateway.schemas.responses.market import Prices

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
        refuse_if_all_failed(0, malformed(bad))
    response = await market.prices(good, query.vs_currencies)
    # market-data-svc sends the rows as JSON, which is passed through.
    body = with_errors(response.json, "prices", bad)
    return render_cacheable(body, settings.prices_fresh_seconds, as_of(response.provenance))
