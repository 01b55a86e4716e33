"""What cuts a service off: that it cannot be reached, never what it answers for one coin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from coincast_chassis.errors import CoincastError, Exhausted, Timeout, Unavailable
from coincast_chassis.run import serve as serve_grpc
from coincast_gateway.server import serve
from coincast_gateway.settings import Settings
from coincast_market_data.app import build as build_market
from tests.contract.gateway.fakes import world
from tests.contract.market_harness import pro_sandbox, settings_for

STORM = 12
# One of each kind of call: a question that may travel with others, and one that never does.
COLD = ("/prices?ids=cold-{n}", "/coins/cold-{n}/history?days=3")


async def breaker(http: httpx2.AsyncClient, service: str = "market-data") -> str:
    reply = await http.get(f"/health/components/{service}")
    return str(reply.json()["figures"]["link"]["breaker"])


@pytest.mark.parametrize(
    "error", [Unavailable("CoinGecko does not answer (ConnectError)."), Timeout("late"), Exhausted("full")]
)
@pytest.mark.parametrize("path", COLD)
async def test_what_a_service_answers_never_cuts_it_off(error: CoincastError, path: str) -> None:
    async with world(prices_fresh_seconds=0) as there, httpx2.AsyncClient(base_url=there.url) as http:
        there.market.script.error = error
        storm = [(await http.get(path.format(n=n))).status_code for n in range(STORM)]
        there.market.script.error = None
        warm = await http.get("/prices?ids=bitcoin")
        assert min(storm) >= 429
        assert (warm.status_code, await breaker(http)) == (200, "closed"), warm.text


async def test_a_service_that_cannot_be_reached_is_cut_off_and_the_other_is_not() -> None:
    dead = {"market_target": "127.0.0.1:1", "market_deadline_seconds": 1.0}
    async with world(**dead) as there, httpx2.AsyncClient(base_url=there.url, timeout=20) as http:
        storm = [await http.get(f"/coins/cold-{n}/history") for n in range(6)]
        assert {reply.status_code for reply in storm} <= {503, 504}
        assert "paused for now" in storm[-1].json()["detail"]
        assert await breaker(http) == "open"
        assert (await http.get("/forecasts?ids=bitcoin")).status_code == 200


@pytest.mark.parametrize(("grace_seconds", "status"), [(0.0, 504), (60.0, 503)], ids=["later", "starting"])
async def test_a_service_that_says_nothing_in_time_is_cut_off(grace_seconds: float, status: int) -> None:
    async with (
        world(market_deadline_seconds=0.2, start_grace_seconds=grace_seconds) as there,
        httpx2.AsyncClient(base_url=there.url, timeout=20) as http,
    ):
        assert (await http.get("/prices?ids=bitcoin")).status_code == 200
        there.market.script.delay_seconds = 2.0
        replies = [await http.get(f"/coins/cold-{n}/history") for n in range(6)]
        assert [reply.status_code for reply in replies] == [status] * 5 + [503]
        assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 503)
        assert await breaker(http) == "open"


async def test_an_answer_of_any_kind_ends_the_cut() -> None:
    """The first call after the pause meets a cold coin whose upstream is down: the service is back."""
    async with (
        world(market_deadline_seconds=0.3, prices_fresh_seconds=0) as there,
        httpx2.AsyncClient(base_url=there.url, timeout=20) as http,
    ):
        there.market.script.delay_seconds = 2.0
        for n in range(6):
            await http.get(f"/coins/cold-{n}/history")
        there.market.script.delay_seconds, there.market.script.error = 0.0, Unavailable("upstream is down")
        while "paused for now" in (reply := await http.get("/coins/cold/history")).json()["detail"]:
            assert reply.status_code == 503
            await asyncio.sleep(0.1)
        assert await breaker(http) == "closed"


async def test_a_warm_key_outlives_a_storm_of_cold_ones_with_the_upstream_down(tmp_path: Path) -> None:
    """Through the real market-data service, with no ready reply in the gateway to hide behind."""
    with pro_sandbox() as sandbox:
        market = settings_for(sandbox, tmp_path, retry_share=0.0)
        async with serve_grpc("market-data", market, build_market) as target:
            gateway = Settings(
                port=0, metrics_port=0, redis_url="", market_target=target, prices_fresh_seconds=0
            )
            async with serve(gateway) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
                assert (await http.get("/prices?ids=bitcoin")).status_code == 200
                sandbox.add_fault(path="*", kind="status", status=500, body=1)
                cold, warm = [], []
                for coin in ("cardano", "solana", "litecoin", "ripple", "dogecoin", "polkadot", "tron"):
                    cold.append((await http.get(f"/prices?ids={coin}")).status_code)
                    cold.append((await http.get(f"/coins/{coin}/history?days=5")).status_code)
                    if len(cold) > 9:
                        warm.append(await http.get("/prices?ids=bitcoin"))
                state = await breaker(http)
    print(f"\n{len(cold)} cold failures: {sorted(set(cold))}; the warm key: {[w.status_code for w in warm]}")
    assert min(cold) >= 500
    assert {reply.status_code for reply in warm} == {200}
    assert warm[-1].json()["prices"][0]["price"] > 0
    assert state == "closed"
