"""SIGTERM under load drops nothing: a real process, keep-alive clients that ask without a pause."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import pytest

from coincast_stack.processes.ports import free_port
from tests.contract.gateway.fakes import world

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]
ROUNDS, CLIENTS = 4, 16


async def ready(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
                return
            await asyncio.sleep(0.1)


async def client(port: int, counts: dict[str, int]) -> None:
    """Send requests until a reply closes the connection, then open another, as behind a load balancer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = b""
        while b"connection: close" not in head.lower():
            writer.write(b"GET /prices?ids=bitcoin HTTP/1.1\r\nhost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            counts["answered"] += 1
    except (asyncio.IncompleteReadError, ConnectionError):
        counts["lost"] += 1
    finally:
        writer.close()


async def test_sigterm_under_load_drops_nothing() -> None:
    counts = {"answered": 0, "lost": 0}
    async with world() as there:
        for _ in range(ROUNDS):
            port = free_port()
            targets = there.targets
            environment = {
                **os.environ, "GATEWAY_PORT": str(port),
                "GATEWAY_METRICS_PORT": "0", "GATEWAY_REDIS_URL": "",
                "GATEWAY_LOG_LEVEL": "warning", "GATEWAY_PRICES_FRESH_SECONDS": "0.2",
                **{f"GATEWAY_{name}".upper(): value for name, value in targets.items()},
            }  # fmt: skip
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "coincast_gateway", env=environment
            )
            await ready(port)
            clients = [asyncio.create_task(client(port, counts)) for _ in range(CLIENTS)]
            await asyncio.sleep(1.5)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await process.wait() == 0
                await asyncio.gather(*clients)
    print(
        f"\n{ROUNDS} SIGTERMs under {CLIENTS} clients: {counts['answered']} answered, {counts['lost']} lost"
    )
    assert counts["answered"] > 200
    assert counts["lost"] == 0
