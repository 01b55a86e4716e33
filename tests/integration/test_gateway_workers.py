"""Several workers: one port, one limit, shared replies, metrics together, a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from coincast_stack.processes.ports import free_port
from tests.contract.gateway.fakes import world
from tests.contract.valkey_harness import RunningValkey, running_valkey
from tests.faults.gateway_process import running_gateway

LIMIT = 40


@pytest.fixture
def valkey() -> Iterator[RunningValkey]:
    with running_valkey() as server:
        yield server


async def test_two_workers_share_port_limit_and_replies(valkey: RunningValkey) -> None:
    port, metrics_port = free_port(), free_port()
    async with world() as there:
        environment = {
            **os.environ, "GATEWAY_PORT": str(port), "GATEWAY_METRICS_PORT": str(metrics_port),
            "GATEWAY_REDIS_URL": valkey.url, "GATEWAY_WORKERS": "2", "GATEWAY_ADDRESS_PER_MINUTE": str(LIMIT),
            "GATEWAY_REDIS_TIMEOUT_SECONDS": "2", "GATEWAY_PRICES_FRESH_SECONDS": "60",
            **{f"GATEWAY_{name}".upper(): value for name, value in there.targets.items()},
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "coincast_gateway", env=environment
        )
        try:
            await ask(f"http://127.0.0.1:{port}", 1)
            started = time.monotonic()
            statuses = await ask(f"http://127.0.0.1:{port}", 140)
            most = LIMIT * (1 + (time.monotonic() - started) / 60)
            async with httpx2.AsyncClient(timeout=30) as http:
                metrics = (await http.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
        finally:
            process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), 60)
        prices = [call for call in there.market.script.calls if hasattr(call, "encode_json")]
    let_in = statuses.count(200)
    print(f"two workers let in {let_in} of 140, {most:.0f} at the most; {len(prices)} calls behind")
    assert LIMIT - 3 <= let_in <= most + 3
    assert len(prices) <= 2
    assert "coincast_gateway_requests_total" in metrics
    assert code == 0


@pytest.mark.parametrize("redis_url", ["", "redis://127.0.0.1:1/0"])
async def test_workers_that_cannot_start_end_the_whole(redis_url: str) -> None:
    """Beyond loopback without keys: one process ends with 2 and says why, and so do several."""
    port = free_port()
    given = {"host": "0.0.0.0", "port": port, "metrics_port": 0, "redis_url": redis_url, "workers": 2}
    environment = {**os.environ, **{f"GATEWAY_{name}".upper(): str(value) for name, value in given.items()}}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coincast_gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, reported = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 2, reported.decode()
    assert b"API keys" in reported
    assert b"Traceback" not in reported
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the port is still open"


async def test_a_worker_that_dies_is_replaced_and_the_other_serves_on() -> None:
    async with world() as there, running_gateway(there, workers=2) as (port, process):
        url, supervisor = f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        async with httpx2.AsyncClient(timeout=30) as http:
            await http.get(f"{url}/health")
            (killed,) = [worker for worker in workers(supervisor) if holds_a_client(worker, port)]
            killed.kill()
        async with asyncio.timeout(60):
            while len(now := workers(supervisor)) < 2 or killed in now:  # noqa: ASYNC110 - processes send no signal
                await asyncio.sleep(0.1)
        assert set(await ask(url, 20)) == {200}
        async with httpx2.AsyncClient(timeout=30) as http:
            own = (await http.get(f"{url}/health/components/gateway")).json()
        assert own["figures"]["workers"] == 2
        assert "one of 2 workers" in own["sentence"]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0


def workers(supervisor: psutil.Process) -> list[psutil.Process]:
    """The supervisor's children that are alive; the other child is multiprocessing's tracker of resources."""
    alive = [each for each in supervisor.children() if each.status() != psutil.STATUS_ZOMBIE]
    return [each for each in alive if "spawn_main" in " ".join(each.cmdline())]


def holds_a_client(worker: psutil.Process, port: int) -> bool:
    connections = worker.net_connections()
    return any(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in connections)


async def ask(url: str, count: int) -> list[int]:
    """Statuses of so many requests, each on a connection of its own, so that both workers get some."""
    statuses: list[int] = []
    async with asyncio.timeout(100):
        while len(statuses) < count:
            try:
                async with httpx2.AsyncClient(timeout=30) as http:
                    statuses.append((await http.get(f"{url}/prices?ids=bitcoin")).status_code)
            except httpx2.ConnectError:
                await asyncio.sleep(0.2)
    return statuses
