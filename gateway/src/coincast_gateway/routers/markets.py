"""Coins by market value."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from coincast_gateway.auth.authenticator import READ
from coincast_gateway.cache.response_cache import cached
from coincast_gateway.dependencies import Config, Market
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
from coincast_gateway.rendering import RenderedResponse
from coincast_gateway.schemas.parameters import split_ids
from coincast_gateway.schemas.requests.market import MarketsQuery
from coincast_gateway.schemas.responses.market import Markets

router = APIRouter(tags=["market"], dependencies=[READ])


@router.get(
    "/markets",
    operation_id="markets",
    summary="Coins by market value, or the named ones",
    response_model=Markets,
    responses=service_responses(NOT_FOUND),
)
@cached(shared=True)
@csv_rows(rows_of("markets"))
async def list_markets(
    query: Annotated[MarketsQuery, Query()], market: Market, settings: Config
) -> RenderedResponse:
    """Return a page of coins by market value, or the named coins."""
    good, bad = split_ids(query.ids or ())
    if query.ids and not good:
        refuse_if_all_failed(0, malformed_id_errors(bad))
    response = await market.markets(query.vs_currency, good, query.page, query.per_page)
    body = with_errors(response.json, "markets", bad)
    return render_cacheable(body, settings.markets_fresh_seconds, as_of(response.provenance))
