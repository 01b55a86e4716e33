"""Every error of the tree has its status and type at every endpoint, for a whole request and for one item."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest
from fastapi.routing import APIRoute
from structlog.testing import capture_logs

from coincast.common.v1 import common_pb2 as common
from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.market.v1 import market_pb2 as mk
from coincast_chassis.errors import KINDS, CoincastError
from coincast_gateway.coingecko_compat.openapi import EXAMPLES
from coincast_gateway.coingecko_compat.routes import COMPAT_ROUTES
from coincast_gateway.routers import ROUTERS
from tests.contract.gateway.fake_forecast import FakeForecast
from tests.contract.gateway.fake_market import FakeMarket
from tests.contract.gateway.fakes import World, world

# kind -> (error, status, name of the problem's type)
CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "invalid_input": ({"field": "vs_currency"}, 400, "invalid-input"),
    "not_found": ({"suggestions": ["bitcoin"]}, 404, "not-found"),
    "conflict": ({}, 409, "conflict"),
    "not_ready": ({}, 409, "not-ready"),
    "not_ready, soon": ({"retry_after_seconds": 9}, 503, "starting"),
    "exhausted": ({"retry_after_seconds": 30}, 429, "rate-limited"),
    "unavailable": ({"retry_after_seconds": 5}, 503, "unavailable"),
    "timeout": ({}, 504, "timeout"),
    "internal": ({}, 500, "internal"),
}
ASKS = {
    "prices": "/prices?ids=bitcoin",
    "prices_stream": "/prices/stream?ids=bitcoin",
    "markets": "/markets?ids=bitcoin",
    "coins": "/coins?query=bit",
    "history": "/coins/bitcoin/history",
    "ohlc": "/coins/bitcoin/ohlc",
    "quality": "/coins/bitcoin/quality",
    "forecasts": "/forecasts?ids=bitcoin",
    "explain": "/forecasts/explain?id=bitcoin",
    "touch": "/forecasts/touch?ids=bitcoin&level=60000",
    "scenarios": "/forecasts/scenarios?ids=bitcoin&paths=10",
    "forecast_models": "/forecasts/models",
    "ledger": "/forecasts/ledger",
    "accuracy": "/forecasts/accuracy",
    "export_histories": "/export/histories?ids=bitcoin",
    "export_ledger": "/export/ledger",
    "versions": "/models",
    "audit": "/models/audit",
    "compare": "/models/lightgbm/compare?a=v000001&b=v000001",
    "jobs": "/training/jobs",
    "job": "/training/jobs/j1",
    "job_logs": "/training/jobs/j1/logs",
    "job_events": "/training/jobs/j1/events",
}
SENDS: dict[str, tuple[str, str, Any]] = {
    "portfolio": ("POST", "/risk/portfolio", {"holdings": [{"id": "bitcoin", "amount": 1}]}),
    "promote": ("POST", "/models/lightgbm/promote", {"version": "v000001"}),
    "rollback": ("POST", "/models/lightgbm/rollback", {}),
    "retire": ("POST", "/models/lightgbm/retire", {"version": "v000001", "reason": "old"}),
    "clean": ("POST", "/models/lightgbm/clean", {}),
    "submit_job": ("POST", "/training/jobs", {"model": "lightgbm", "ids": ["bitcoin"]}),
    "cancel_job": ("DELETE", "/training/jobs/j1", {}),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep the services' logs of these errors from being rendered, which takes seconds each."""
    with capture_logs():
        yield


def error_of(kind: str) -> CoincastError:
    fields = CASES[kind][0]
    return KINDS.get(kind.partition(",")[0], CoincastError)("What went wrong.", **fields)


def service_operations() -> set[str]:
    """The operations that a service answers: those that can time out."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return {route.operation_id or route.name for route in routes if 504 in route.responses}


def test_every_kind_and_every_endpoint_is_in_the_table() -> None:
    assert {kind.partition(",")[0] for kind in CASES} >= set(KINDS)
    assert {*ASKS, *SENDS} >= service_operations()


def fail_with(there: World, error: CoincastError | None) -> None:
    for service in (there.market, there.forecast, there.training):
        service.script.error = error


@pytest.mark.parametrize("kind", CASES)
async def test_a_whole_requests_error(kind: str) -> None:
    _, status, name = CASES[kind]
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        fail_with(there, error_of(kind))
        requests = {operation: ("GET", path, None) for operation, path in ASKS.items()} | SENDS
        for operation, (method, path, body) in requests.items():
            reply = await http.request(method, path, json=body)
            reported = (reply.status_code, reply.json()["type"])
            assert reported == (status, f"/problems/{name}"), (operation, reply.text)
            assert ("retry-after" in reply.headers) == (status in (429, 503)), operation
            assert reply.headers["cache-control"] == "no-store", operation
            assert ("What went wrong." in reply.text) == (status != 500), operation


class FailingItems:
    """Every item fails with the error that stands here."""

    error: CoincastError


class ItemsOfMarket(FakeMarket, FailingItems):
    async def GetPrices(self, request: mk.GetPricesRequest, context: Any) -> mk.GetPricesResponse:
        return mk.GetPricesResponse(json=orjson.dumps({"prices": [], "errors": [self._item("bitcoin")]}))

    async def GetMarkets(self, request: mk.GetMarketsRequest, context: Any) -> mk.GetMarketsResponse:
        return mk.GetMarketsResponse(json=orjson.dumps({"markets": [], "errors": [self._item("bitcoin")]}))

    def _item(self, coin_id: str) -> dict[str, Any]:
        error = FailingItems.error
        return {
            "id": coin_id,
            "kind": error.kind,
            "message": error.message,
            "field": error.field or None,
            "suggestions": list(error.suggestions),
            "retry_after_seconds": error.retry_after_seconds,
        }


class ItemsOfForecast(FakeForecast, FailingItems):
    async def GetForecasts(self, request: fc.GetForecastsRequest, context: Any) -> fc.GetForecastsResponse:
        error = FailingItems.error
        item = common.ItemError(
            id="bitcoin",
            kind=common.ErrorKind.Value(f"ERROR_KIND_{error.kind.upper()}"),
            message=error.message,
            field=error.field,
            suggestions=error.suggestions,
            retry_after_seconds=error.retry_after_seconds,
        )
        return fc.GetForecastsResponse(errors=[item])


@pytest.mark.parametrize("kind", CASES)
async def test_the_error_of_the_only_item(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, status, name = CASES[kind]
    monkeypatch.setattr("tests.contract.gateway.fakes.FakeMarket", ItemsOfMarket)
    monkeypatch.setattr("tests.contract.gateway.fakes.FakeForecast", ItemsOfForecast)
    monkeypatch.setattr(FailingItems, "error", error_of(kind), raising=False)
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        for operation in ("prices", "markets", "forecasts", "explain"):
            reply = await http.get(ASKS[operation])
            reported = (reply.status_code, reply.json()["type"])
            assert reported == (status, f"/problems/{name}"), (operation, reply.text)
            assert ("retry-after" in reply.headers) == (status in (429, 503)), operation
            assert reply.json()["errors"][0]["kind"] == kind.partition(",")[0]


# As CoinGecko says it: what it has no word for comes with the status of HTTP.
COMPAT = {"invalid_input": 422, "not_ready": 503, "not_ready, soon": 503}


@pytest.mark.parametrize("kind", CASES)
async def test_the_coingecko_compatible_api(kind: str) -> None:
    status = COMPAT.get(kind, CASES[kind][1])
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        fail_with(there, error_of(kind))
        for route in COMPAT_ROUTES:
            if route.template in ("ping", "key"):
                continue
            path = "/api/v3/" + re.sub(r"\{(\w+)\}", lambda found: EXAMPLES[found[1]], route.template)
            params = {name: EXAMPLES[name] for name in route.known if name in EXAMPLES}
            reply = await http.get(path, params=params)
            assert reply.status_code == status, (route.template, reply.text)
            assert ("retry-after" in reply.headers) == (status in (429, 503)), route.template
            assert ("What went wrong." in reply.text) == (status not in (404, 500)), route.template


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/price", "/prices"), ("/forcasts", "/forecasts"), ("/Prices", "/prices"), ("/model", "/models"),
        ("/prices/bitcoin", "/prices"), ("/forecasts/bitcoin", "/forecasts"), ("/coins/bitcoin", "/coins"),
        ("/history/bitcoin", "/coins/bitcoin/history"), ("/coin/bitcoin/history", "/coins/bitcoin/history"),
        ("/v1/prices", "/prices"), ("/stream", "/prices/stream"), ("/nothing/of/it", None),
        ("/health/component/gateway", "/health/components/gateway"),
    ],
)  # fmt: skip
async def test_unknown_path_is_answered_with_the_nearest_one(path: str, nearest: str | None) -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        reply = await http.get(path)
    assert reply.status_code == 404
    suggestions = reply.json().get("suggestions", [])
    assert (suggestions[0] if suggestions else None) == nearest
    assert not any(each.startswith(("/assets/", "/problems/")) for each in suggestions)


@pytest.mark.parametrize("path", ["/prices", "/forecasts", "/coins/bitcoin/history", "/health", "/docs"])
async def test_a_trailing_slash_makes_no_difference(path: str) -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        query = "?ids=bitcoin" if path in ("/prices", "/forecasts") else ""
        assert (await http.get(f"{path}/{query}")).status_code == 200


# The others pass on what their service suggests.
BY_COIN = [
    "/prices?ids={}", "/coins/{}/history", "/coins/{}/quality", "/coins/{}/ohlc", "/forecasts?ids={}",
    "/forecasts/explain?ids={}", "/forecasts/ledger?ids={}", "/forecasts/accuracy?ids={}",
]  # fmt: skip


@pytest.mark.parametrize("path", BY_COIN)
async def test_symbol_in_place_of_an_id_is_answered_with_the_id(path: str) -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        there.training.logged = []
        reply = await http.get(path.format("btc"))
    assert "bitcoin" in reply.text, reply.text
    assert reply.status_code == 404
    assert reply.json()["field"] in ("id", "ids")
