"""Cache lifetimes of replies, and conditional requests of clients that have a copy."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import httpx2
import orjson
import pytest

from coincast.common.v1 import common_pb2 as common
from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.market.v1 import market_pb2 as mk
from coincast_gateway.errors.partial_results import SOON_SECONDS, kept_seconds
from tests.contract.gateway.fake_forecast import FakeForecast
from tests.contract.gateway.fake_market import FakeMarket
from tests.contract.gateway.fakes import world

WHOLE = {"prices": [{"id": "bitcoin", "stale": False, "reason": None}], "errors": []}


def failed(kind: str) -> dict[str, Any]:
    return {"id": "x", "kind": kind, "message": 'says "stale":true', "field": None, "suggestions": []}


@pytest.mark.parametrize(
    ("document", "seconds"),
    [
        (WHOLE, 60.0),
        ({**WHOLE, "errors": [failed("not_found"), failed("invalid_input")]}, 60.0),
        ({**WHOLE, "errors": [failed("not_found"), failed("unavailable")]}, 0.0),
        ({**WHOLE, "errors": [failed("timeout")]}, 0.0),
        ({**WHOLE, "errors": [failed("not_ready")]}, 0.0),
        ({"prices": [{"id": "bitcoin", "stale": True}], "errors": []}, SOON_SECONDS),
        ({"forecasts": [{"degraded": True}], "errors": [failed("not_found")]}, SOON_SECONDS),
        ({"forecasts": [{"degraded": True}], "errors": [failed("internal")]}, 0.0),
        ({"forecasts": [{"as_of_reason": "the hourly candles are being read"}], "errors": []}, SOON_SECONDS),
        ({"forecasts": [{"as_of_reason": None}], "errors": []}, 60.0),
        ({"truncated": True, "truncated_reason": "earlier days could not be fetched"}, SOON_SECONDS),
        ({"truncated": False, "stale": False}, 60.0),
    ],
)
def test_what_may_be_better_in_a_moment_is_kept_no_longer(document: Any, seconds: float) -> None:
    assert kept_seconds(orjson.dumps(document), 60.0) == seconds
    assert kept_seconds(orjson.dumps(document), 0.0) == 0.0


class HalfMarket(FakeMarket):
    """Has one coin and not the other, as while its upstream is down."""

    down = True

    async def GetPrices(self, request: mk.GetPricesRequest, context: Any) -> mk.GetPricesResponse:
        reply = await super().GetPrices(request, context)
        if self.down:
            document = orjson.loads(reply.json)
            document["prices"] = document["prices"][:1]
            document["errors"] = [{**failed("unavailable"), "retry_after_seconds": 5}]
            reply.json = orjson.dumps(document)
        return reply


async def test_an_item_that_failed_is_there_as_soon_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.contract.gateway.fakes.FakeMarket", HalfMarket)
    async with world(prices_fresh_seconds=60) as there, httpx2.AsyncClient(base_url=there.url) as http:
        first = await http.get("/prices?ids=bitcoin,ethereum")
        assert [each["kind"] for each in first.json()["errors"]] == ["unavailable"]
        assert first.headers["cache-control"] == "no-store"
        monkeypatch.setattr(HalfMarket, "down", False)
        second = await http.get("/prices?ids=bitcoin,ethereum")
        assert (len(second.json()["prices"]), second.json()["errors"]) == (2, [])
        assert second.headers["cache-control"] == "public, max-age=60"


class MakeshiftForecast(FakeForecast):
    """The model is not available for one coin, and another has no history."""

    async def GetForecasts(self, request: fc.GetForecastsRequest, context: Any) -> fc.GetForecastsResponse:
        reply = await super().GetForecasts(request, context)
        reply.forecasts[0].degraded = True
        if "nohistory" in request.ids:
            reply.errors[0].kind = common.ERROR_KIND_UNAVAILABLE
        return reply


async def test_a_degraded_forecast_is_soon_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.contract.gateway.fakes.FakeForecast", MakeshiftForecast)
    async with world(forecasts_fresh_seconds=60) as there, httpx2.AsyncClient(base_url=there.url) as http:
        degraded = await http.get("/forecasts?ids=bitcoin")
        assert degraded.headers["cache-control"] == "public, max-age=1"
        short = await http.get("/forecasts?ids=bitcoin,nohistory")
        assert short.headers["cache-control"] == "no-store"
        explained = await http.get("/forecasts/explain?id=bitcoin")
        assert explained.headers["cache-control"] == "public, max-age=1"


class ShortMarket(FakeMarket):
    """Could not fetch the earlier days."""

    async def GetHistory(self, request: mk.GetHistoryRequest, context: Any) -> mk.GetHistoryResponse:
        reply = await super().GetHistory(request, context)
        document = orjson.loads(reply.json)
        return mk.GetHistoryResponse(json=orjson.dumps({**document, "truncated": True}))


async def test_a_history_that_was_cut_short_is_soon_requested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.contract.gateway.fakes.FakeMarket", ShortMarket)
    async with world(history_fresh_seconds=60) as there, httpx2.AsyncClient(base_url=there.url) as http:
        reply = await http.get("/coins/bitcoin/history?days=9")
        assert reply.headers["cache-control"] == "public, max-age=1"


async def test_a_copy_of_the_same_date_is_not_sent_again() -> None:
    async with world(prices_fresh_seconds=60) as there, httpx2.AsyncClient(base_url=there.url) as http:
        first = await http.get("/prices?ids=bitcoin")

        async def requested(**headers: str | bytes) -> httpx2.Response:
            given: Any = {name.replace("_", "-"): value for name, value in headers.items()}
            return await http.get("/prices?ids=bitcoin", headers=given)

        dated = first.headers["last-modified"]
        again = await requested(if_modified_since=dated)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert (await requested(if_modified_since=formatdate(0, usegmt=True))).status_code == 200
        for none in ("yesterday", "", b"\xff" * 9, "Thu, 99 Foo 2026 25:61:61 GMT"):
            assert (await requested(if_modified_since=none)).status_code == 200, none
        # The tag is the surer word, whatever the date says.
        assert (await requested(if_modified_since=dated, if_none_match='"other"')).status_code == 200
        old = formatdate(0, usegmt=True)
        assert (
            await requested(if_modified_since=old, if_none_match=first.headers["etag"])
        ).status_code == 304


async def test_what_is_not_kept_has_no_date_to_go_by() -> None:
    async with world(prices_fresh_seconds=0) as there, httpx2.AsyncClient(base_url=there.url) as http:
        first = await http.get("/prices?ids=bitcoin")
        given = {"if-modified-since": first.headers["last-modified"]}
        assert (await http.get("/prices?ids=bitcoin", headers=given)).status_code == 200
