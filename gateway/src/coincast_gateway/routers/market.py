"""Prices, markets, the catalogue, histories."""

from __future__ import annotations

from typing import Any

import orjson

from coincast_gateway.clients.market import MarketClient
from coincast_gateway.errors.partial_results import (
    as_of,
    malformed,
    refuse_if_all_failed,
    render_cacheable,
    with_errors,
)
from coincast_gateway.errors.problems import NOT_FOUND
from coincast_gateway.formats.csv import candle_rows, rows_of
from coincast_gateway.rendering import RenderedResponse
from coincast_gateway.schemas.fields import split_ids
from coincast_gateway.schemas.requests.market import (
    CoinsQuery,
    HistoryQuery,
    MarketsQuery,
    OhlcQuery,
    PricesQuery,
)
from coincast_gateway.schemas.responses import market as shapes
from coincast_gateway.serialization.proto import iso, provenance_fields
from coincast_gateway.serving.endpoint import BEHIND, Call, Endpoint
from coincast_gateway.settings import Settings


class MarketRoutes:
    """Answers from market-data-svc."""

    def __init__(self, market: MarketClient, settings: Settings) -> None:
        self._market = market
        self._settings = settings

    async def prices(self, query: PricesQuery, call: Call) -> RenderedResponse:
        """Ready JSON, passed through."""
        good, bad = split_ids(query.ids)
        if not good:
            refuse_if_all_failed(0, malformed(bad))
        response = await self._market.prices(good, query.vs_currencies)
        body = with_errors(response.json, "prices", bad)
        return render_cacheable(body, self._settings.prices_fresh_seconds, as_of(response.provenance))

    async def markets(self, query: MarketsQuery, call: Call) -> RenderedResponse:
        """Ready JSON, passed through."""
        good, bad = split_ids(query.ids or ())
        if query.ids and not good:
            refuse_if_all_failed(0, malformed(bad))
        response = await self._market.markets(query.vs_currency, good, query.page, query.per_page)
        body = with_errors(response.json, "markets", bad)
        return render_cacheable(body, self._settings.markets_fresh_seconds, as_of(response.provenance))

    async def coins(self, query: CoinsQuery, call: Call) -> RenderedResponse:
        """A page of the catalogue."""
        response = await self._market.coins(query.query, query.limit, query.page_token)
        document: dict[str, Any] = {
            "coins": [{"id": coin.id, "symbol": coin.symbol, "name": coin.name} for coin in response.coins],
            "total": response.total,
            "next_page_token": response.next_page_token,
            **provenance_fields(response.provenance),
        }
        seconds = self._settings.history_fresh_seconds
        return render_cacheable(orjson.dumps(document), seconds, as_of(response.provenance))

    async def history(self, query: HistoryQuery, call: Call) -> RenderedResponse:
        """Ready JSON, passed through."""
        response = await self._market.history(query.id, query.vs_currency, query.days)
        return render_cacheable(response.json, self._settings.history_fresh_seconds)

    async def ohlc(self, query: OhlcQuery, call: Call) -> RenderedResponse:
        """Candles as CoinGecko gives them, with named fields."""
        response = await self._market.ohlc(query.id, query.vs_currency, int(query.days))
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
        seconds = self._settings.history_fresh_seconds
        return render_cacheable(orjson.dumps(document), seconds, as_of(response.provenance))

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint(
                path="/prices",
                name="prices",
                tag="market",
                answer=self.prices,
                query=PricesQuery,
                reply=shapes.Prices,
                shared=True,
                problems=(*BEHIND, NOT_FOUND),
                table=rows_of("prices"),
                summary="Spot prices of up to 250 coins",
            ),
            Endpoint(
                path="/markets",
                name="markets",
                tag="market",
                answer=self.markets,
                query=MarketsQuery,
                reply=shapes.Markets,
                shared=True,
                problems=(*BEHIND, NOT_FOUND),
                table=rows_of("markets"),
                summary="Coins by market value, or the named ones",
            ),
            Endpoint(
                path="/coins",
                name="coins",
                tag="market",
                answer=self.coins,
                query=CoinsQuery,
                reply=shapes.Coins,
                table=rows_of("coins"),
                summary="The catalogue, whole or searched",
            ),
            Endpoint(
                path="/coins/{id}/history",
                name="history",
                tag="market",
                answer=self.history,
                query=HistoryQuery,
                reply=shapes.History,
                shared=True,
                problems=(*BEHIND, NOT_FOUND),
                table=candle_rows,
                summary="Daily candles of one coin",
            ),
            Endpoint(
                path="/coins/{id}/ohlc",
                name="ohlc",
                tag="market",
                answer=self.ohlc,
                query=OhlcQuery,
                reply=shapes.Ohlc,
                shared=True,
                problems=(*BEHIND, NOT_FOUND),
                table=candle_rows,
                summary="Intraday to four-day candles of one coin",
            ),
        ]
