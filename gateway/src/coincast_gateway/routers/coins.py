"""The catalogue of coins, and the candles of one coin."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query

from coincast_chassis.clock import Clock
from coincast_chassis.errors import NotFound
from coincast_gateway.auth.authenticator import READ
from coincast_gateway.cache.response_cache import cached
from coincast_gateway.dependencies import Config, Market, ServiceClock
from coincast_gateway.errors.partial_results import as_of, refuse_if_all_failed, render_cacheable
from coincast_gateway.errors.problems import NOT_FOUND, service_responses
from coincast_gateway.formats.csv import candle_rows, rows_of
from coincast_gateway.formats.negotiation import csv_rows
from coincast_gateway.rendering import RenderedResponse, encode_json
from coincast_gateway.schemas.parameters import CoinId
from coincast_gateway.schemas.requests.market import (
    CoinsQuery,
    HistoryQuery,
    OhlcQuery,
    QualityQuery,
    first_moment,
)
from coincast_gateway.schemas.responses.market import Coins, History, Ohlc, Quality
from coincast_gateway.serialization import iso, iso_moment, provenance_fields

NOT_CHECKED = "No day of this coin has been checked yet."
router = APIRouter(tags=["market"], dependencies=[READ])


@router.get(
    "/coins",
    operation_id="coins",
    summary="List or search the catalogue of coins",
    response_model=Coins,
    responses=service_responses(),
)
@cached()
@csv_rows(rows_of("coins"))
async def list_coins(
    query: Annotated[CoinsQuery, Query()], market: Market, settings: Config
) -> RenderedResponse:
    """Return a page of the catalogue; pass its `next_page_token` to get the next page."""
    response = await market.coins(query.query, query.limit, query.page_token)
    document: dict[str, Any] = {
        "coins": [{"id": coin.id, "symbol": coin.symbol, "name": coin.name} for coin in response.coins],
        "total": response.total,
        "next_page_token": response.next_page_token,
        **provenance_fields(response.provenance),
    }
    return render_cacheable(encode_json(document), settings.history_fresh_seconds, as_of(response.provenance))


@router.get(
    "/coins/{id}/history",
    operation_id="history",
    summary="Daily or hourly candles of one coin",
    response_model=History,
    responses=service_responses(NOT_FOUND),
)
@cached(shared=True)
@csv_rows(candle_rows)
async def get_history(
    id: Annotated[CoinId, Path()],
    query: Annotated[HistoryQuery, Query()],
    market: Market,
    settings: Config,
    *,
    clock: ServiceClock,
) -> RenderedResponse:
    """Return candles of closed UTC days or hours, oldest first; `truncated` says whether some are missing."""
    first = first_moment(query.from_, query.to, days=query.days)
    days = query.days if first is None else days_since(first, query.as_of, clock)
    hourly = query.interval == "1h"
    response = await market.history(id, query.vs_currency, days, hourly=hourly, known_at=query.as_of)
    body = response.json
    if query.from_ is not None or query.to is not None or query.as_of is not None:
        body = cut_span(orjson.loads(body), query)
    return render_cacheable(body, settings.history_fresh_seconds)


def days_since(first: dt.datetime, known_at: dt.datetime | None, clock: Clock) -> int:
    """Return how many days back a history must reach to include a moment, at most 10,000.

    Args:
        first: The moment.
        known_at: The end of the history; None means now.
        clock: The current time.
    """
    now = known_at or dt.datetime.fromtimestamp(clock.now(), dt.UTC)
    return max(1, min(10_000, (now.date() - first.date()).days + 1))


def cut_span(document: dict[str, Any], query: HistoryQuery) -> bytes:
    """Return a history as JSON, with the candles of the requested span and `as_of` as `known_at`."""
    first = first_moment(query.from_, query.to, days=query.days)
    length = dt.timedelta(hours=1) if query.interval == "1h" else dt.timedelta(days=1)

    def inside(candle: dict[str, Any]) -> bool:
        start = dt.datetime.fromisoformat(candle.get("time") or f"{candle['date']}T00:00:00+00:00")
        after = first is None or start >= first
        known = query.as_of is None or start + length <= query.as_of
        return after and known and (query.to is None or start <= query.to)

    document["candles"] = [candle for candle in document["candles"] if inside(candle)]
    if query.from_ is not None and query.to is not None and query.to < query.from_:
        document["quality_notes"].append("The span is empty: to lies before from.")
    document["known_at"] = None if query.as_of is None else iso_moment(query.as_of)
    return encode_json(document)


@router.get(
    "/coins/{id}/quality",
    operation_id="quality",
    summary="Known defects in the history of one coin",
    response_model=Quality,
    responses=service_responses(NOT_FOUND),
)
@cached()
async def get_quality(
    id: Annotated[CoinId, Path()],
    query: Annotated[QualityQuery, Query()],
    market: Market,
    settings: Config,
) -> RenderedResponse:
    """Return the number of missing days and quarantined points, and notes on the data, newest first."""
    reports = (await market.quality(id)).quality
    found = next((each for each in reports if each.id == id and each.vs_currency == query.vs_currency), None)
    if found is None:
        refuse_if_all_failed(0, await market.unknown_coins([id]))
    notes = list(found.notes) if found else []
    document = {
        "id": id,
        "vs_currency": query.vs_currency,
        "missing_days": found.missing_days if found else 0,
        "duplicate_points": found.duplicate_points if found else 0,
        "quarantined_points": found.quarantined_points if found else 0,
        "last_good_date": (found.last_good_date if found else "") or None,
        "notes": notes or ([] if found and found.last_good_date else [NOT_CHECKED]),
    }
    return render_cacheable(encode_json(document), settings.history_fresh_seconds)


@router.get(
    "/coins/{id}/ohlc",
    operation_id="ohlc",
    summary="Intraday to four-day candles of one coin",
    response_model=Ohlc,
    responses=service_responses(NOT_FOUND),
)
@cached(shared=True)
@csv_rows(candle_rows)
async def get_ohlc(
    id: Annotated[CoinId, Path()],
    query: Annotated[OhlcQuery, Query()],
    market: Market,
    settings: Config,
) -> RenderedResponse:
    """Return CoinGecko's candles with named fields."""
    try:
        response = await market.ohlc(id, query.vs_currency, int(query.days))
    except NotFound as error:
        if not error.suggestions:
            # CoinGecko's own refusal names no coin that is near.
            refuse_if_all_failed(0, await market.unknown_coins([id]))
        raise
    candles = [
        {"closed_at": iso(c.closed_at), "open": c.open, "high": c.high, "low": c.low, "close": c.close}
        for c in response.candles
    ]
    document = {
        "id": response.id,
        "vs_currency": response.vs_currency,
        "candles": candles,
        **provenance_fields(response.provenance),
    }
    return render_cacheable(encode_json(document), settings.history_fresh_seconds, as_of(response.provenance))
