"""While the forecast service is down, the last forecasts stand in for it, and say so."""

from __future__ import annotations

import httpx2
import pytest

from coincast.forecast.v1 import forecast_pb2 as fc
from coincast_chassis.errors import InvalidInput, Timeout, Unavailable
from coincast_gateway.routers.forecasts import span
from tests.contract.gateway.fake_forecast import forecast_of
from tests.contract.gateway.fakes import world

ASK = "/forecasts?ids=bitcoin,ethereum&days=3"


async def test_the_last_forecast_is_served_stale_with_the_reason() -> None:
    async with (
        world(forecasts_fresh_seconds=0) as there,
        httpx2.AsyncClient(base_url=there.url, timeout=60) as http,
    ):
        fresh = (await http.get(ASK)).json()
        for error in (Unavailable("down"), Timeout("late")):
            there.forecast.script.error = error
            reply = await http.get(ASK)
            assert reply.status_code == 200
            for forecast, before in zip(reply.json()["forecasts"], fresh["forecasts"], strict=True):
                assert (forecast["id"], forecast["points"]) == (before["id"], before["points"])
                assert (before["stale"], forecast["stale"]) == (False, True)
                assert "This is the forecast given" in forecast["reason"]
                assert forecast["age_seconds"] >= before["age_seconds"]
        # Another question has no last answer, and a refused one is refused.
        assert (await http.get("/forecasts?ids=bitcoin&days=4")).status_code == 504
        there.forecast.script.error = InvalidInput("no", field="vs_currency")
        assert (await http.get(ASK)).status_code == 400
        there.forecast.script.error = None
        assert (await http.get(ASK)).json()["forecasts"][0]["stale"] is False


async def test_degraded_forecast_is_the_last_one_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def degraded(coin_id: str, request: fc.GetForecastsRequest) -> fc.Forecast:
        found = forecast_of(coin_id, request)
        found.degraded, found.reason, found.last_price = True, "lstm is not loaded.", 36_000.0
        return found

    async with (
        world(forecasts_fresh_seconds=0) as there,
        httpx2.AsyncClient(base_url=there.url, timeout=60) as http,
    ):
        good = (await http.get(ASK)).json()["forecasts"][0]
        monkeypatch.setattr("tests.contract.gateway.fake_forecast.forecast_of", degraded)
        young = f"{ASK}&model=lstm"
        for question in (ASK, young):
            assert (await http.get(question)).json()["forecasts"][0]["degraded"]
        there.forecast.script.error = Unavailable("The forecast service is down.")
        last, only = [(await http.get(each)).json()["forecasts"][0] for each in (ASK, young)]
    assert (last["last_price"], last["stale"]) == (good["last_price"], True)
    assert "degraded" not in last["reason"]
    assert (only["last_price"], only["stale"], only["degraded"]) == (36_000.0, True, True)
    assert only["reason"].startswith("The forecast service is down. This is the forecast given")
    assert only["reason"].endswith("It was degraded then: lstm is not loaded.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (720, "12 minutes"), (7200, "2 hours"), (86_000, "24 hours")],
)
def test_age_of_a_forecast_is_said_in_its_unit(seconds: float, words: str) -> None:
    assert span(seconds) == words


async def test_with_nothing_known_an_open_breaker_refuses_at_once() -> None:
    # Nothing listens at port 1.
    async with (
        world(forecast_target="127.0.0.1:1") as there,
        httpx2.AsyncClient(base_url=there.url, timeout=60) as http,
    ):
        for _ in range(5):
            assert (await http.get(ASK)).status_code in (503, 504)
        link = (await http.get("/health/components/forecast")).json()["figures"]["link"]
        assert link["breaker"] == "open"
        reply = await http.get(ASK)
    assert "calls are paused" in reply.json()["detail"]
    assert reply.status_code == 503
    assert 1 <= int(reply.headers["retry-after"]) <= 60
