"""Measure live prices for 1,000 subscribers: upstream calls, processor time per subscriber and per event.

    python bench/price_streams.py

Market-data and the gateway run as processes of their own; the sandbox and the subscribers run in this
process. The calls use HTTP and gRPC. Prices are fresh for five seconds, so that each poll finds changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "contract"))

from market_harness import pro_sandbox

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_sandbox.testing import RunningSandbox
from coincast_stack.processes.ports import free_port

SUBSCRIBERS = 1_000
COINS = ("bitcoin", "ethereum", "solana", "ripple", "cardano", "dogecoin", "chainlink", "litecoin")
WATCHED = 4
SECONDS = 20.0
START_SECONDS = 60.0
OPENING_AT_ONCE = 50
# One poll serves all subscribers; differences in timing may cause this many more upstream calls.
MOST_EXTRA_CALLS = 3


class Subscribers:
    """Readers of `/prices/stream`; plain sockets, because they cost this process little."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.events = 0
        self.open = 0
        # The gateway refuses some of a thousand streams that are opened at the same moment.
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)

    async def read(self, number: int) -> None:
        """Follow a stream of a few coins, and count its events, until cancelled."""
        ids = ",".join(COINS[(number + step) % len(COINS)] for step in range(WATCHED))
        async with self._opening:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            request = f"GET /prices/stream?ids={ids} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n"
            writer.write(request.encode())
            status = await reader.readline()
            assert b" 200 " in status, status
        self.open += 1
        try:
            while chunk := await reader.read(65_536):
                self.events += chunk.count(b"event: prices")
        finally:
            writer.close()


@contextmanager
def process_of(module: str, variables: dict[str, str]) -> Iterator[psutil.Process]:
    """Run a service with these environment variables until the block ends."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def cpu_seconds(process: psutil.Process) -> float:
    """Return the user and system time of a process and its children so far."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def wait_until_ready(port: int) -> None:
    """Wait until the gateway serves a price."""
    give_up = time.monotonic() + START_SECONDS
    async with httpx2.AsyncClient(trust_env=False) as http:
        while time.monotonic() < give_up:
            with contextlib.suppress(httpx2.HTTPError):
                if (await http.get(f"http://127.0.0.1:{port}/prices?ids=bitcoin")).status_code == 200:
                    return
            await asyncio.sleep(0.2)
    raise TimeoutError("the gateway did not serve a price in time")


async def measure(sandbox: RunningSandbox, port: int, count: int, services: dict[str, psutil.Process]) -> int:
    """Keep streams open for SECONDS, and print what they cost.

    Args:
        sandbox: The upstream, which counts the calls.
        port: The port of the gateway.
        count: The number of streams.
        services: The processes to measure, by name.

    Returns:
        The upstream calls in that time.
    """
    subscribers = Subscribers(port)
    tasks = [asyncio.create_task(subscribers.read(number)) for number in range(count)]
    while subscribers.open < count:
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)
    await asyncio.sleep(2.0)
    before = {name: cpu_seconds(process) for name, process in services.items()}
    await asyncio.to_thread(sandbox.forget_calls)
    events, started = subscribers.events, time.perf_counter()
    await asyncio.sleep(SECONDS)
    took, events = time.perf_counter() - started, subscribers.events - events
    calls = int((await asyncio.to_thread(sandbox.calls))["total"])
    for name, process in services.items():
        used = cpu_seconds(process) - before[name]
        print(
            f"{count} subscribers, {name}: {used / took * 100:.1f} % of a core,"
            f" {used / took / count * 1e6:.0f} us a second for each subscriber,"
            f" {used / max(events, 1) * 1e6:.0f} us for each event"
        )
    print(f"{count} subscribers: {calls} upstream calls and {events} events in {took:.0f} s")
    await cancel_and_wait(tasks)
    return calls


async def run(sandbox: RunningSandbox, folder: str) -> bool:
    """Measure one subscriber, then all; return whether the bound on upstream calls holds."""
    market_port, port = free_port(), free_port()
    market = {
        "MARKET_PORT": str(market_port),
        "MARKET_METRICS_PORT": "0",
        "MARKET_UPSTREAM": "sandbox",
        "MARKET_UPSTREAM_URL": sandbox.base_url,
        "MARKET_PLAN": "pro",
        "MARKET_API_KEY": "bench",
        "MARKET_PER_MINUTE_LIMIT": "100000",
        "MARKET_PER_MONTH_LIMIT": "0",
        "MARKET_ARCHIVE_DIR": folder,
        "MARKET_WARM_IDS": "",
        "MARKET_BACKGROUND_REFRESH": "false",
        "MARKET_PRICES_FRESH_SECONDS": "5",
        "MARKET_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    gateway = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_METRICS_PORT": "0",
        "GATEWAY_MARKET_TARGET": f"127.0.0.1:{market_port}",
        "GATEWAY_REDIS_URL": "",
        "GATEWAY_ADDRESS_PER_MINUTE": "0",
    }
    with (
        process_of("coincast_market_data", market) as market_process,
        process_of("coincast_gateway", gateway) as gateway_process,
    ):
        await wait_until_ready(port)
        services = {"market-data": market_process, "gateway": gateway_process}
        one = await measure(sandbox, port, 1, services)
        many = await measure(sandbox, port, SUBSCRIBERS, services)
    held = many <= 2 * one + MOST_EXTRA_CALLS
    verdict = "holds" if held else "is exceeded"
    print(f"upstream calls: {many} for {SUBSCRIBERS} subscribers, {one} for one; the bound {verdict}")
    return held


def main() -> int:
    """Return the exit code: 1 if all subscribers together cause more upstream calls than the bound allows."""
    with tempfile.TemporaryDirectory() as folder, pro_sandbox() as sandbox:
        return 0 if asyncio.run(run(sandbox, folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
