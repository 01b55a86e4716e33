"""Ready means that a forecast can be served: gateway, forecast and market-data over the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast_chassis.run import serve as serve_grpc
from coincast_forecast.app import build as build_forecast
from coincast_forecast.settings import Settings as ForecastSettings
from coincast_gateway.server import serve as serve_gateway
from coincast_gateway.settings import Settings as GatewaySettings
from coincast_market_data.app import build as build_market
from coincast_sandbox.testing import RunningSandbox
from coincast_stack.processes.ports import free_port
from tests.contract.market_harness import NO_REDIS, pro_sandbox, settings_for

pytestmark = pytest.mark.timeout(120)
ASK: dict[str, str | int] = {"ids": "bitcoin", "days": 3, "model": "technical"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with pro_sandbox() as running:
        yield running


@dataclass
class Line:
    """A gateway over a forecast service, and a market-data service that can come and go."""

    http: httpx2.AsyncClient
    port: int
    sandbox: RunningSandbox
    archive: Path

    @asynccontextmanager
    async def market(self) -> AsyncIterator[None]:
        settings = settings_for(self.sandbox, self.archive, port=self.port, breaker_reset_seconds=0.5)
        async with serve_grpc("market", settings, build_market):
            yield

    async def until_ready(self) -> httpx2.Response:
        async with asyncio.timeout(60):
            while True:
                reply = await self.http.get("/health/ready")
                if reply.status_code == 200:
                    return reply
                await asyncio.sleep(0.1)

    async def steadily_not_ready(self, seconds: float) -> str:
        """What is said to be missing, at the end of a while in which it never says that it is ready."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            reply = await self.http.get("/health/ready")
            assert reply.status_code == 503, reply.text
            if asyncio.get_running_loop().time() > end:
                return str(reply.json()["detail"])
            await asyncio.sleep(0.1)

    async def ask(self) -> dict[str, Any]:
        reply = await self.http.get("/forecasts", params=ASK)
        return {"status": reply.status_code, **reply.json()}


@pytest.fixture
async def line(sandbox: RunningSandbox, tmp_path: Path) -> AsyncIterator[Line]:
    port = free_port()
    forecast = ForecastSettings(
        port=0, metrics_port=0, market_target=f"127.0.0.1:{port}", artifacts_dir=tmp_path / "artifacts",
        spool_dir=tmp_path / "spool", redis_url=NO_REDIS, day_check_seconds=0.5, stale_after_seconds=1,
        not_serving_seconds=0,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(serve_grpc("forecast", forecast, build_forecast))
        gateway = GatewaySettings(
            port=0, metrics_port=0, redis_url="", market_target=f"127.0.0.1:{port}", forecast_target=target,
            forecasts_fresh_seconds=0,
        )  # fmt: skip
        url = await stack.enter_async_context(serve_gateway(gateway))
        client = httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False)
        yield Line(await stack.enter_async_context(client), port, sandbox, tmp_path / "archive")


async def test_ready_once_histories_can_be_had_and_for_as_long_as_they_are_kept(line: Line) -> None:
    missing = await line.steadily_not_ready(3)
    assert "no history of any coin: market-data does not answer" in missing
    assert (await line.ask())["status"] == 503
    async with line.market():
        ready = (await line.until_ready()).json()
        assert {check["name"]: check["ready"] for check in ready["checks"]} == {
            "market-data": True,
            "forecast": True,
        }
        # No forecast was requested yet: the served ones were computed before.
    await asyncio.sleep(2)
    reply = await line.http.get("/health/ready")
    assert reply.status_code == 200
    assert {check["name"]: check["ready"] for check in reply.json()["checks"]}["market-data"] is False
    late = await line.ask()
    assert (late["status"], late["forecasts"][0]["stale"]) == (200, True)


async def test_not_ready_while_market_data_answers_but_has_no_history(line: Line) -> None:
    line.sandbox.add_fault("status", status=500)
    async with line.market():
        missing = await line.steadily_not_ready(3)
        assert "no history of any coin" in missing
        assert (await line.ask())["status"] == 503
        line.sandbox.clear_faults()
        await line.until_ready()
        assert (await line.ask())["status"] == 200
