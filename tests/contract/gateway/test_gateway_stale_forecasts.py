"""While the forecast service is down, the last forecasts stand in for it, and say so."""

from __future__ import annotations

import httpx2

from coincast_chassis.errors import InvalidInput, Timeout, Unavailable
from tests.contract.gateway.fakes import world

ASK = "/forecasts?ids=bitcoin,ethereum&days=3"


async def test_the_last_forecast_is_served_stale_with_the_reason() -> None:
    async with (
        world(forecasts_fresh_seconds=0) as there,
        httpx2.AsyncClient(base_url=there.url) as http,
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
