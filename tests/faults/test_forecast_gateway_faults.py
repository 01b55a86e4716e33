"""Forecast replicas behind a real gateway: kill -9 of one of two under load is nothing that a client sees."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_stack.processes.ports import free_port
from tests.unit.forecast.forecast_artifacts import move, tiny_lightgbm, write_version
from tests.unit.forecast.forecast_fakes import COINS, FakeMarket, market_server
from tests.unit.forecast.forecast_process import forecast_process

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
CALLERS = 10


@contextlib.asynccontextmanager
async def gateway(market: str, forecast: str, log: Path) -> AsyncIterator[str]:
    """The address of a gateway in a process of its own, which keeps no reply: every request reaches a
    replica.
    """
    port = free_port()
    settings = {
        "GATEWAY_PORT": port,
        "GATEWAY_METRICS_PORT": 0,
        "GATEWAY_REDIS_URL": "",
        "GATEWAY_MARKET_TARGET": market,
        "GATEWAY_FORECAST_TARGET": forecast,
        "GATEWAY_TRAINING_TARGET": "127.0.0.1:9",
        "GATEWAY_FORECASTS_FRESH_SECONDS": 0,
    }
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "coincast_gateway", env=environment, stdout=out, stderr=out
        )
    try:
        url = f"http://127.0.0.1:{port}"
        await until_up(url)
        yield url
    finally:
        child.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), 20)
        if child.returncode is None:
            child.kill()
            await child.wait()


async def until_up(url: str) -> None:
    async with asyncio.timeout(60), httpx2.AsyncClient(base_url=url, timeout=5, trust_env=False) as http:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                await http.get("/health")
                return
            await asyncio.sleep(0.1)


class Clients:
    """Callers of the gateway, and the replies that they got."""

    def __init__(self, url: str) -> None:
        self.statuses: Counter[str] = Counter()
        self.served_by: Counter[str] = Counter()
        self._url = url
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(CALLERS)]

    async def _ask(self, number: int) -> None:
        async with httpx2.AsyncClient(base_url=self._url, timeout=30, trust_env=False) as http:
            turn = number
            while True:
                turn += 1
                # Ever other questions, so that no two are one call.
                path = f"/forecasts?ids={COINS[turn % len(COINS)]}&days={1 + turn % 30}&model=lightgbm"
                try:
                    reply = await http.get(path)
                except httpx2.HTTPError as error:
                    self.statuses[type(error).__name__] += 1
                    continue
                self.statuses[str(reply.status_code)] += 1
                if reply.status_code == 200:
                    document = reply.json()
                    self.served_by.update(f["served_by"] for f in document["forecasts"])
                    self.statuses["coin errors"] += len(document["errors"])

    @property
    def answered(self) -> int:
        return self.statuses["200"]

    async def until(self, answered: int) -> None:
        async with asyncio.timeout(120):
            while True:
                if self.answered >= answered:
                    return
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        await cancel_and_wait(self._tasks)


async def test_kill_9_of_one_of_two_replicas_is_not_seen_through_the_gateway(tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    move(root, production=write_version(root, tiny_lightgbm(1)))
    async with contextlib.AsyncExitStack() as stack:
        market = await stack.enter_async_context(market_server(FakeMarket()))
        replicas = [
            await stack.enter_async_context(
                forecast_process(market, root, tmp_path / "spool", replica=f"replica-{n}")
            )
            for n in (1, 2)
        ]
        both = "ipv4:" + ",".join(replica.address for replica in replicas)
        clients = Clients(await stack.enter_async_context(gateway(market, both, tmp_path / "gateway.log")))
        await clients.until(200)
        before = clients.answered
        replicas[0].child.kill()
        await clients.until(before + 200)
        await asyncio.sleep(3)
        await clients.end()
    errors = {k: v for k, v in clients.statuses.items() if k != "200" and v}
    print(f"\nkill -9 of one of two replicas behind the gateway: {before} replies before, ", end="")
    print(f"{clients.answered - before} after, errors {errors or 0}, served by {dict(clients.served_by)}")
    assert errors == {}
    assert set(clients.served_by) == {"lightgbm"}


async def test_kill_9_of_the_only_replica_under_20_callers_costs_at_most_a_second_of_errors(
    tmp_path: Path,
) -> None:
    """The gateway answers with the last forecasts it gave, as stale and with the reason, until it is back."""
    root = tmp_path / "artifacts"
    move(root, production=write_version(root, tiny_lightgbm(1)))
    paths = [f"/forecasts?ids={coin}&days={days}&model=lightgbm" for coin in COINS[:4] for days in (1, 7)]
    loop = asyncio.get_running_loop()
    replies: list[tuple[float, int, bool]] = []

    async def call(url: str, number: int) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            for turn in range(number, 10**9):
                reply = await http.get(paths[turn % len(paths)])
                stale = reply.status_code == 200 and all(each["stale"] for each in reply.json()["forecasts"])
                replies.append((loop.time(), reply.status_code, stale))
                await asyncio.sleep(0.02)

    async with contextlib.AsyncExitStack() as stack:
        market = await stack.enter_async_context(market_server(FakeMarket()))
        replica = await stack.enter_async_context(
            forecast_process(market, root, tmp_path / "spool", replica="replica-1")
        )
        url = await stack.enter_async_context(gateway(market, replica.address, tmp_path / "gateway.log"))
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            for path in paths:
                assert (await http.get(path)).status_code == 200
        callers = [asyncio.create_task(call(url, number)) for number in range(20)]
        await asyncio.sleep(2)
        killed_at = loop.time()
        replica.child.kill()
        await asyncio.sleep(8)
        for caller in callers:
            caller.cancel()
        ended = await asyncio.gather(*callers, return_exceptions=True)
    after = [each for each in replies if each[0] >= killed_at]
    errors = [at - killed_at for at, status, _ in after if status != 200]
    stale = sum(each[2] for each in after)
    last = max(errors, default=0.0)
    print(f"\nkill -9 of the only replica under 20 callers: {len(after)} replies after, {stale} stale,")
    print(f"{len(errors)} errors, the last {last:.2f} s after the kill")
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    assert stale > 100
    assert last <= 1.0
