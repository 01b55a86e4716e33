"""A newcomer adds an endpoint by one function, and gets caching, errors, CSV and OpenAPI with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Query
from pydantic import Field

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import NotFound, Unavailable
from coincast_gateway.app import build_api
from coincast_gateway.auth.authenticator import ADMIN, READ
from coincast_gateway.cache.last_known import LastKnownResponses
from coincast_gateway.cache.response_cache import CacheMiddleware, ResponseCache, cached
from coincast_gateway.dependencies import Config, Services
from coincast_gateway.errors.problems import NOT_FOUND, service_responses
from coincast_gateway.experiments import ExperimentAssigner
from coincast_gateway.formats.csv import rows_of
from coincast_gateway.formats.negotiation import csv_rows
from coincast_gateway.formats.sse import EventStreams
from coincast_gateway.rendering import render_json
from coincast_gateway.routers import pages
from coincast_gateway.schemas.parameters import CoinId, RequestQuery
from coincast_gateway.schemas.responses.common import ResponseModel
from coincast_gateway.settings import Settings
from coincast_gateway.web.assets import Assets

calls: list[str] = []
router = APIRouter(tags=["market"], dependencies=[READ])


class SpreadQuery(RequestQuery):
    """Which coin."""

    id: CoinId
    days: Annotated[int, Field(ge=1, le=30, description="Days to look at.")] = 1


class Spread(ResponseModel):
    """High over low."""

    id: str = Field(description="The coin.")
    percent: float = Field(description="High over low, in percent.")


@router.get(
    "/spread", summary="The spread of one coin", response_model=Spread, responses=service_responses(NOT_FOUND)
)
@cached(seconds=30)
async def get_spread(query: Annotated[SpreadQuery, Query()], settings: Config) -> Spread:
    """Return how far the high lay above the low."""
    calls.append(query.id)
    if query.id == "nocoin":
        raise NotFound("There is no such coin.", field="id", suggestions=["bitcoin"])
    if query.id == "down":
        raise Unavailable("market-data does not answer.", retry_after_seconds=7)
    if query.id == "bug":
        raise ZeroDivisionError
    return Spread(id=query.id, percent=float(settings.workers))


@router.get("/spread/{id}/table", summary="The spread as a table")
@cached(seconds=30)
@csv_rows(rows_of("rows"))
async def get_table(id: CoinId) -> Any:
    """Return rows."""
    calls.append(f"table of {id}")
    return render_json({"rows": [{"id": id, "percent": 1.5}]}, fresh_seconds=30)


@router.get("/spread-settings", summary="For administrators", dependencies=[ADMIN])
async def get_settings() -> dict[str, int]:
    """Return a plain dictionary."""
    return {"answer": 42}


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def http(clock: ManualClock) -> AsyncIterator[httpx2.AsyncClient]:
    calls.clear()
    nothing: Any = None
    services = Services(
        market=nothing,
        forecasts=nothing,
        training=nothing,
        health=nothing,
        settings=Settings(redis_url=""),
        streams=EventStreams(asyncio.Event()),
        experiments=ExperimentAssigner(),
        assets=Assets(),
        last_forecasts=LastKnownResponses(max_bytes=1_000_000, clock=clock),
    )
    cache = ResponseCache(max_bytes=1_000_000, clock=clock)
    app = build_api(services, cache, [router, pages.router])
    middleware = CacheMiddleware(app, cache, app.state.routes)
    assert "/spread" in middleware.exact_paths
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cache.aclose)
        transport = httpx2.ASGITransport(app=middleware, raise_app_exceptions=False)
        yield await stack.enter_async_context(
            httpx2.AsyncClient(transport=transport, base_url="http://gateway")
        )


async def test_it_is_cached_for_as_long_as_it_says(http: httpx2.AsyncClient, clock: ManualClock) -> None:
    first = await http.get("/spread?id=bitcoin")
    assert first.json() == {"id": "bitcoin", "percent": 1.0}
    assert first.headers["cache-control"] == "public, max-age=30"
    again = await http.get("/spread", params={"days": 1, "id": "BITCOIN"})
    assert again.content == first.content
    tagged = await http.get("/spread?id=bitcoin", headers={"if-none-match": first.headers["etag"]})
    assert tagged.status_code == 304
    assert calls == ["bitcoin"]
    clock.advance(31)
    assert (await http.get("/spread?id=bitcoin")).status_code == 200
    assert calls == ["bitcoin", "bitcoin"]
    assert (await http.get("/spread?id=bitcoin&days=2")).status_code == 200
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/spread", 422, "id"),
        ("/spread?id=bitcoin&days=31", 422, "days"),
        ("/spread?id=bitcoin&dayz=3", 422, "dayz"),
        ("/spread?id=bitcoin&id=ethereum", 422, "id"),
        ("/spread?id=nocoin", 404, "id"),
        ("/spread?id=down", 503, ""),
        ("/spread?id=bug", 500, ""),
        ("/spread/bit%20coin/table", 422, "id"),
        ("/spread/bitcoin/table?a=1", 422, "a"),
        ("/spread-settings?a=1", 422, "a"),
        ("/nothing", 404, ""),
    ],
)
async def test_errors_are_problems(http: httpx2.AsyncClient, path: str, status: int, field: str) -> None:
    for _ in range(2):
        reply = await http.get(path)
        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json().get("field", "") == field
        assert ("retry-after" in reply.headers) == (status == 503)


async def test_it_answers_in_csv(http: httpx2.AsyncClient) -> None:
    for accept, start in (("text/csv", "id,percent"), ("application/json", '{"rows"')):
        for _ in range(2):
            reply = await http.get("/spread/bitcoin/table", headers={"accept": accept})
            assert reply.text.startswith(start)
    assert calls == ["table of bitcoin"] * 2
    assert (await http.get("/spread/bitcoin/table", headers={"accept": "image/png"})).status_code == 406


async def test_other_methods_are_refused_with_the_ones_there_are(http: httpx2.AsyncClient) -> None:
    reply = await http.post("/spread?id=bitcoin")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_it_is_described(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    operation = document["paths"]["/spread"]["get"]
    assert [each["name"] for each in operation["parameters"]] == ["id", "days"]
    assert all(each["description"] for each in operation["parameters"])
    assert operation["description"].endswith("Needs a key with the scope `read`.")
    assert {"404", "422", "503"} <= set(operation["responses"])
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("Spread")
    assert list(document["paths"]["/spread/{id}/table"]["get"]["responses"]["200"]["content"]) == [
        "application/json",
        "text/csv",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.parquet",
    ]
    assert "scope `admin`" in document["paths"]["/spread-settings"]["get"]["description"]
