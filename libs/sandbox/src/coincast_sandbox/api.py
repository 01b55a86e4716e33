"""CoinGecko's paths below /api/v3: read the parameters, ask the market, answer."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coincast_sandbox.http import query as read
from coincast_sandbox.http.access import MONTHLY_CREDITS, MinuteLimit, Plan
from coincast_sandbox.http.errors import RefusalError, refusal_response
from coincast_sandbox.replies import charts, coins, markets, simple
from coincast_sandbox.replies.spot import CHANGE_DAYS
from coincast_sandbox.simulation.market import Market

PREFIX = "/api/v3"
OHLC_DAYS = {1, 7, 14, 30, 90, 180, 365}
_FLAGS = ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at")
Query = Mapping[str, str]


class Api:
    """The documents, each from the market and a request's parameters."""

    def __init__(self, market: Market, plan: Plan, limit: MinuteLimit) -> None:
        self._market = market
        self._plan = plan
        self._limit = limit

    def routes(self) -> list[Route]:
        """Every path, with and without a slash at its end."""
        table: dict[str, Callable[[Query, dict[str, str]], Any]] = {
            "/ping": lambda query, path: {"gecko_says": "(V3) To the Moon!"},
            "/simple/price": self._simple_price,
            "/simple/supported_vs_currencies": lambda query, path: self._market.currencies(),
            "/coins/list": lambda query, path: coins.coins_list(
                self._market, platforms=read.flag(query, "include_platform")
            ),
            "/coins/markets": self._markets,
            "/coins/{id}": self._coin,
            "/coins/{id}/market_chart": self._chart,
            "/coins/{id}/market_chart/range": self._chart_range,
            "/coins/{id}/ohlc": self._ohlc,
            "/coins/{id}/history": self._history,
            "/search": lambda query, path: coins.search(self._market, query.get("query", "")),
            "/key": self._key,
        }
        return [
            Route(PREFIX + path + end, self._endpoint(document), methods=["GET"])
            for path, document in table.items()
            for end in ("", "/")
        ]

    def _endpoint(
        self, document: Callable[[Query, dict[str, str]], Any]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                self._plan.check(request.headers, request.query_params)
                body = orjson.dumps(document(request.query_params, request.path_params))
            except RefusalError as refusal:
                return refusal_response(refusal, self._market.clock.now())
            headers = {"cache-control": "max-age=30, public, must-revalidate, s-maxage=60"}
            return Response(body, headers=headers, media_type="application/json")

        return answer

    def _simple_price(self, query: Query, path: dict[str, str]) -> Any:
        currencies = read.words(read.required(query, "vs_currencies"))
        ids = read.coin_ids(query, self._market)
        if ids is None:
            raise RefusalError(422, 4, "Missing parameter ids")
        flags = {name: read.flag(query, name) for name in _FLAGS}
        return simple.simple_price(self._market, ids, currencies, flags, read.precision(query))

    def _markets(self, query: Query, path: dict[str, str]) -> Any:
        currency = read.currency(query, self._market)
        wanted = read.coin_ids(query, self._market)
        ranked = markets.ranked_ids(self._market, query.get("order", "market_cap_desc"))
        found = ranked if wanted is None else [i for i in ranked if i in set(wanted)]
        size = read.whole(query, "per_page", 100, 1, 250)
        first = (read.whole(query, "page", 1, 1, 10_000) - 1) * size
        changes = [c for c in read.words(query.get("price_change_percentage", "")) if c in CHANGE_DAYS]
        return [
            markets.market_row(
                self._market, i, currency, changes,
                sparkline=read.flag(query, "sparkline"), precision=read.precision(query),
            )
            for i in found[first : first + size]
        ]  # fmt: skip

    def _coin(self, query: Query, path: dict[str, str]) -> Any:
        coin_id = read.known_coin(self._market, path["id"])
        return coins.coin_document(
            self._market, coin_id, market_data=query.get("market_data", "true") != "false"
        )

    def _chart(self, query: Query, path: dict[str, str]) -> Any:
        days = read.number_of_days(query)
        now = self._market.clock.now()
        self._plan.check_reach(now - days * 86400, now)
        started = self._market.series[read.known_coin(self._market, path["id"])].started() - 1
        return self._series(query, path, max(now - days * 86400, started), math.inf, days)

    def _chart_range(self, query: Query, path: dict[str, str]) -> Any:
        start, end = read.unix_seconds(query, "from"), read.unix_seconds(query, "to")
        if start >= end:
            raise RefusalError(400, 4, "invalid date range")
        self._plan.check_reach(start, self._market.clock.now())
        return self._series(query, path, start, end, (end - start) / 86400)

    def _series(self, query: Query, path: dict[str, str], start: float, end: float, days: float) -> Any:
        coin_id, currency = read.known_coin(self._market, path["id"]), read.currency(query, self._market)
        interval = query.get("interval")
        if interval == "5m" or (interval == "hourly" and days > 90 and self._plan.name != "pro"):
            raise RefusalError(401, 1, "This interval is exclusive to a higher plan", 10005)
        step = charts.granularity(days, interval)
        return charts.market_chart(
            self._market, coin_id, currency, (start, end), step=step, precision=read.precision(query)
        )

    def _ohlc(self, query: Query, path: dict[str, str]) -> Any:
        coin_id, currency = read.known_coin(self._market, path["id"]), read.currency(query, self._market)
        days = read.number_of_days(query)
        if days not in OHLC_DAYS:
            raise RefusalError(422, 4, "Invalid days value")
        return charts.ohlc(self._market, coin_id, currency, int(days), read.precision(query))

    def _history(self, query: Query, path: dict[str, str]) -> Any:
        coin_id, day = read.known_coin(self._market, path["id"]), read.history_day(query)
        self._plan.check_reach(day * 86400.0, self._market.clock.now())
        return coins.coin_history(self._market, coin_id, day)

    def _key(self, query: Query, path: dict[str, str]) -> Any:
        if self._plan.name != "pro":
            raise RefusalError(401, 1, "This endpoint is exclusive to paid plan subscribers", 10005)
        credits = MONTHLY_CREDITS[self._plan.name]
        return {
            "plan": "Analyst",
            "rate_limit_request_per_minute": self._limit.per_minute or 500,
            "monthly_call_credit": credits,
            "current_total_monthly_calls": 0,
            "current_remaining_monthly_calls": credits,
        }
