"""Compare `GetPrices` from a warm cache with a bare grpc.aio echo of the same bytes: ratios of p50 and p99.

    python bench/market_hot_prices.py

The servers are separate processes on uvloop. One client calls them in alternation, in interleaved rounds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from coincast_stack.processes.ports import free_port

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "contract"))

import grpc.aio
import uvloop
from market_harness import pro_sandbox

from coincast.market.v1 import market_pb2 as pb

ROUNDS, CALLS = 15, 300
GOAL = 1.5
IDS = ["bitcoin", "ethereum", "solana", "cardano", "ripple"]
ECHO = """
import asyncio, sys, grpc.aio, uvloop
body = open(sys.argv[2], 'rb').read()
async def reply(request, context):
    return body
async def main():
    server = grpc.aio.server(options=[('grpc.so_reuseport', 0)])
    handler = grpc.unary_unary_rpc_method_handler(reply)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('bench.Echo', {'Get': handler}),))
    server.add_insecure_port(f'127.0.0.1:{sys.argv[1]}')
    await server.start()
    await server.wait_for_termination()
uvloop.run(main())
"""
PRICES = "/coincast.market.v1.MarketDataService/GetPrices"


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server as a process of its own, with these environment variables added."""
    return subprocess.Popen(command, env={**os.environ, **environment})


async def connect(port: int) -> grpc.aio.Channel:
    """Return a channel to the server on a port, once it is connected."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)])
    await asyncio.wait_for(channel.channel_ready(), 30)
    return channel


async def time_calls(call: grpc.aio.UnaryUnaryMultiCallable, request: bytes) -> list[float]:
    """Return the seconds of each of CALLS calls, sorted."""
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await call(request, timeout=10)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)


async def measure(
    market: int, folder: Path, processes: list[subprocess.Popen[bytes]], *, encode_json: bool
) -> None:
    """Call echo and service in alternation, and print the medians of the rounds' ratios.

    Args:
        market: The port of market-data.
        folder: A folder for the body that the echo returns.
        processes: The started processes; the echo is added.
        encode_json: Whether the reply is ready JSON instead of messages.
    """
    request = pb.GetPricesRequest(ids=IDS, encode_json=encode_json).SerializeToString()
    channel = await connect(market)
    prices: Any = channel.unary_unary(PRICES)
    for _ in range(20):
        body = await prices(request, timeout=10)
        await asyncio.sleep(0.1)
    (folder / "body").write_bytes(body)
    port = free_port()
    processes.append(start([sys.executable, "-c", ECHO, str(port), str(folder / "body")], {}))
    echo_channel = await connect(port)
    echo: Any = echo_channel.unary_unary("/bench.Echo/Get")
    await time_calls(prices, request)
    await time_calls(echo, request)
    p50s, p99s, ours = [], [], []
    for _ in range(ROUNDS):
        bare, hot = await time_calls(echo, request), await time_calls(prices, request)
        p50s.append(hot[CALLS // 2] / bare[CALLS // 2])
        p99s.append(hot[CALLS * 99 // 100] / bare[CALLS * 99 // 100])
        ours.append(hot[CALLS // 2])
    kind = "ready JSON" if encode_json else "messages"
    print(
        f"hot GetPrices ({kind}, {len(body)} bytes) / bare echo: p50 {statistics.median(p50s):.2f} times"
        f" (goal {GOAL}), p99 {statistics.median(p99s):.2f} times;"
        f" own p50 {statistics.median(ours) * 1000:.2f} ms"
    )
    await channel.close()
    await echo_channel.close()


async def main() -> None:
    """Start market-data, measure both forms of a reply, and stop all servers."""
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder, pro_sandbox() as sandbox:
        port = free_port()
        settings = {
            "UPSTREAM": "sandbox",
            "UPSTREAM_URL": sandbox.base_url,
            "PLAN": "pro",
            "API_KEY": "bench",
            "PORT": str(port),
            "METRICS_PORT": "0",
            "ARCHIVE_DIR": folder,
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "LOG_LEVEL": "error",
        }
        environment = {f"MARKET_{name}": value for name, value in settings.items()}
        processes.append(start([sys.executable, "-m", "coincast_market_data"], environment))
        try:
            for encode_json in (True, False):
                await measure(port, Path(folder), processes, encode_json=encode_json)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(10)


if __name__ == "__main__":
    uvloop.run(main())
