"""CoinGecko's paths below /api/v3: parse the parameters, query the market, return the JSON document."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coincast_sandbox.http import query as read
from coincast_sandbox.http.errors import ApiError, error_response, not_found
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.http.rate_limit import RateLimiter
from coincast_sandbox.replies import charts, coins, exchanges, markets, overview, simple
from coincast_sandbox.replies.spot import CHANGE_DAYS
from coincast_sandbox.simulation.market import Market
from coincast_sandbox.simulation.reference import CATEGORIES, PLATFORMS, categories_of, contracts

PREFIX = "/api/v3"
OHLC_DAYS = frozenset({1, 7, 14, 30, 90, 180, 365, math.inf})
Query = Mapping[str, str]
Handler = Callable[[Query, dict[str, str]], Any]


class Page(list[Any]):
    """One page of a longer list; `total` and `per_page` become response headers."""

    def __init__(self, rows: list[Any], *, total: int, per_page: int) -> None:
        super().__init__(rows)
        self.total = total
        self.per_page = per_page


class Api:
    """Handlers for the paths: they build each reply from the market and the request's parameters."""

    def __init__(self, market: Market, plan: ApiPlan, limiter: RateLimiter) -> None:
        self._market = market
        self._plan = plan
        self._limiter = limiter
        self._contracts = {
            (platform, address.lower()): coin_id
            for coin_id in market.series
            for platform, address in contracts(coin_id).items()
        }

    def routes(self) -> list[Route]:
        """Return every route, with and without a trailing slash; fixed paths come before patterns."""
        market = self._market
        table: dict[str, Handler] = {
            "/ping": lambda query, path: {"gecko_says": "(V3) To the Moon!"},
            "/key": self._key,
            "/simple/price": self._simple_price,
            "/simple/token_price/{id}": self._token_price,
            "/simple/supported_vs_currencies": lambda query, path: market.currencies(),
            "/coins/list": self._list,
            "/coins/markets": self._markets,
            "/coins/categories": lambda query, path: overview.category_rows(market, query.get("order", "")),
            "/coins/categories/list": lambda query, path: overview.category_names(),
            "/coins/{id}": self._coin,
            "/coins/{id}/tickers": self._tickers,
            "/coins/{id}/market_chart": self._chart,
            "/coins/{id}/market_chart/range": self._chart_range,
            "/coins/{id}/ohlc": self._ohlc,
            "/coins/{id}/history": self._history,
            "/coins/{platform}/contract/{address}": self._contract,
            "/coins/{platform}/contract/{address}/market_chart": self._of_contract(self._chart),
            "/coins/{platform}/contract/{address}/market_chart/range": self._of_contract(self._chart_range),
            "/asset_platforms": lambda query, path: overview.asset_platforms(),
            "/exchanges": self._exchanges,
            "/exchanges/list": lambda query, path: (
                [] if query.get("status") == "inactive" else exchanges.exchange_names()
            ),
            "/exchange_rates": lambda query, path: overview.exchange_rates(market),
            "/search": lambda query, path: coins.search(market, query.get("query", "")),
            "/search/trending": lambda query, path: overview.trending(market),
            "/global": lambda query, path: overview.global_figures(market),
            "/global/decentralized_finance_defi": lambda query, path: overview.defi_figures(market),
        }
        return [
            Route(PREFIX + path + end, self._endpoint(handler), methods=["GET"])
            for path, handler in table.items()
            for end in ("", "/")
        ]

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                self._plan.check_key(request.headers, request.query_params)
                document = handler(request.query_params, request.path_params)
            except ApiError as error:
                return error_response(error, self._market.clock.now())
            headers = {"cache-control": "max-age=30, public, must-revalidate, s-maxage=60"}
            if isinstance(document, Page):
                headers |= {"per-page": str(document.per_page), "total": str(document.total)}
            return Response(orjson.dumps(document), headers=headers, media_type="application/json")

        return respond

    def _simple_price(self, query: Query, path: dict[str, str]) -> Any:
        if not any(query.get(name) for name in ("ids", "names", "symbols")):
            raise ApiError(422, 4, "Missing parameter ids")
        currencies = read.split_list(read.required(query, "vs_currencies"))
        wanted = read.keyed_coins(query, self._market) or {}
        return self._prices(query, wanted, currencies)

    def _token_price(self, query: Query, path: dict[str, str]) -> Any:
        platform = self._known_platform(path["id"])
        addresses = read.split_list(read.required(query, "contract_addresses"))
        currencies = read.split_list(read.required(query, "vs_currencies"))
        found = {a: self._contracts[platform, a] for a in addresses if (platform, a) in self._contracts}
        return self._prices(query, found, currencies)

    def _prices(self, query: Query, wanted: Mapping[str, str], currencies: list[str]) -> Any:
        flags = {name: read.flag(query, name) for name in simple.FLAGS}
        return simple.simple_price(self._market, wanted, currencies, flags, precision=read.precision(query))

    def _list(self, query: Query, path: dict[str, str]) -> Any:
        return coins.coins_list(
            self._market,
            platforms=read.flag(query, "include_platform"),
            active=query.get("status") != "inactive",
        )

    def _markets(self, query: Query, path: dict[str, str]) -> Any:
        currency = read.currency(query, self._market)
        wanted = read.keyed_coins(query, self._market)
        found = markets.ranked_ids(self._market, query.get("order", "market_cap_desc"))
        if wanted is not None:
            found = [i for i in found if i in set(wanted.values())]
        if query.get("category"):
            found = self._in_category(found, query["category"])
        size = read.whole(query, "per_page", default=100, least=1, most=250)
        first = (read.whole(query, "page", default=1, least=1, most=10_000) - 1) * size
        changes = [
            c
            for c in read.split_list(query.get("price_change_percentage", ""))
            if c in CHANGE_DAYS and c != "60d"
        ]
        rows = [
            markets.market_row(
                self._market, i, currency, changes,
                sparkline=read.flag(query, "sparkline"), precision=read.precision(query),
            )
            for i in found[first : first + size]
        ]  # fmt: skip
        return Page(rows, total=len(found), per_page=size)

    def _in_category(self, ids: list[str], category_id: str) -> list[str]:
        if category_id not in {category.id for category in CATEGORIES}:
            raise ApiError(404, 4, "Category not found")
        return [i for i in ids if any(c.id == category_id for c in categories_of(i))]

    def _coin(self, query: Query, path: dict[str, str]) -> Any:
        return coins.coin_document(self._market, read.known_coin(self._market, path["id"]), query)

    def _tickers(self, query: Query, path: dict[str, str]) -> Any:
        coin_id = read.known_coin(self._market, path["id"])
        name = self._market.names[coin_id].name
        return {"name": name, "tickers": exchanges.coin_tickers(self._market, coin_id, query)}

    def _contract(self, query: Query, path: dict[str, str]) -> Any:
        coin_id = self._coin_at(path)
        return coins.contract_document(self._market, coin_id, path["address"].lower(), query)

    def _of_contract(self, handler: Handler) -> Handler:
        return lambda query, path: handler(query, {"id": self._coin_at(path)})

    def _coin_at(self, path: dict[str, str]) -> str:
        found = self._contracts.get((self._known_platform(path["platform"]), path["address"].lower()))
        if found is None:
            raise not_found()
        return found

    def _known_platform(self, platform: str) -> str:
        if platform not in {p.id for p in PLATFORMS}:
            raise ApiError(404, 4, "asset platform not found")
        return platform

    def _exchanges(self, query: Query, path: dict[str, str]) -> Any:
        rows = exchanges.exchange_rows(self._market)
        size = read.whole(query, "per_page", default=100, least=1, most=250)
        first = (read.whole(query, "page", default=1, least=1, most=10_000) - 1) * size
        return Page(rows[first : first + size], total=len(rows), per_page=size)

    def _chart(self, query: Query, path: dict[str, str]) -> Any:
        days = read.number_of_days(query)
        now = self._market.clock.now()
        self._plan.check_reach(now - days * 86400, now)
        started = self._market.series[read.known_coin(self._market, path["id"])].started() - 1
        return self._series(query, path, (max(now - days * 86400, started), math.inf), days)

    def _chart_range(self, query: Query, path: dict[str, str]) -> Any:
        start, end = read.unix_seconds(query, "from"), read.unix_seconds(query, "to")
        if start >= end:
            raise ApiError(400, 4, "invalid date range")
        self._plan.check_reach(start, self._market.clock.now())
        return self._series(query, path, (start, end), (end - start) / 86400)

    def _series(self, query: Query, path: dict[str, str], span: tuple[float, float], days: float) -> Any:
        coin_id, currency = read.known_coin(self._market, path["id"]), read.currency(query, self._market)
        interval = query.get("interval")
        if interval == "5m":
            raise ApiError(401, 1, "This interval is exclusive to a higher plan", 10005)
        if interval == "hourly" and days > 90:
            self._plan.require_paid("This interval is exclusive to a higher plan")
        step = charts.granularity(days, interval)
        return charts.market_chart(
            self._market, coin_id, currency, span, step=step, precision=read.precision(query)
        )

    def _ohlc(self, query: Query, path: dict[str, str]) -> Any:
        coin_id, currency = read.known_coin(self._market, path["id"]), read.currency(query, self._market)
        days, interval = read.number_of_days(query), query.get("interval")
        if days not in OHLC_DAYS:
            raise ApiError(422, 4, "Invalid days value")
        if interval in {"daily", "hourly"}:
            self._plan.require_paid("This interval is exclusive to paid plan subscribers")
        now = self._market.clock.now()
        self._plan.check_reach(now - days * 86400, now)
        width = charts.ohlc_width(days, interval)
        return charts.ohlc(
            self._market, coin_id, currency, days, width=width, precision=read.precision(query)
        )

    def _history(self, query: Query, path: dict[str, str]) -> Any:
        coin_id, day = read.known_coin(self._market, path["id"]), read.history_day(query)
        self._plan.check_reach(day * 86400.0, self._market.clock.now())
        localization = read.flag(query, "localization", default=True)
        return coins.coin_history(self._market, coin_id, day, localization=localization)

    def _key(self, query: Query, path: dict[str, str]) -> Any:
        self._plan.require_paid("This endpoint is exclusive to paid plan subscribers")
        terms, used = self._plan.terms, self._limiter.used_credits
        per_minute = self._limiter.per_minute or terms.calls_per_minute
        credits = self._limiter.monthly_credits or terms.monthly_credits
        return {
            "plan": terms.label,
            "rate_limit_request_per_minute": per_minute,
            "monthly_call_credit": credits,
            "current_total_monthly_calls": used,
            "current_remaining_monthly_calls": max(credits - used, 0),
            "api_key_rate_limit_request_per_minute": per_minute,
            "api_key_monthly_call_credit": credits,
            "api_key_current_total_monthly_calls": used,
        }
