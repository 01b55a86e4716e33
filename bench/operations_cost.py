"""Measure the cost of a request in each service: CPU time and memory, from the services' metrics.

Prints milliseconds of CPU per request by service and kind of load, and the requests per second that one core
could answer at that cost. CPU time is measured instead of wall time, so a busy machine changes it little.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx2

from coincast_stack.options import StackOptions
from coincast_stack.testing import StackHandle, stack_for_tests

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("gateway", "market", "forecast", "training")
REQUESTS = int(os.environ.get("REQUESTS", "300"))
COINS = ("bitcoin", "ethereum", "solana", "cardano", "litecoin", "dogecoin", "chainlink", "ripple")


def figures(stack: StackHandle, client: httpx2.Client, name: str) -> dict[str, float]:
    """Return the CPU seconds and the resident bytes of one service, by the names of the metrics."""
    port = getattr(stack.stack.layout.ports, f"{name}_metrics")
    text = client.get(f"http://127.0.0.1:{port}/metrics").text
    wanted = ("process_cpu_seconds_total", "process_resident_memory_bytes")
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith(wanted)}


def loads() -> dict[str, Callable[[int], tuple[str, dict[str, str]]]]:
    """Return the kinds of load by name, each a function from the number of a request to its path and query.

    Changing queries bypass the caches.
    """
    pair = lambda n: f"{COINS[n % 8]},{COINS[(n // 8) % 8]}"  # noqa: E731 - a short name for one expression
    return {
        "prices, same (cached)": lambda n: ("/prices", {"ids": "bitcoin,ethereum", "vs_currencies": "usd"}),
        "prices, changing": lambda n: (
            "/prices",
            {"ids": pair(n), "vs_currencies": ("usd", "eur", "btc")[n % 3]},
        ),
        "history, changing": lambda n: ("/coins/bitcoin/history", {"days": str(30 + n % 300)}),
        "forecast, changing": lambda n: (
            "/forecasts",
            {"ids": pair(n), "days": str(1 + n % 30), "model": "lightgbm"},
        ),
    }


def main() -> int:
    """Run every kind of load and print a table."""
    data = ROOT.parent / "shared" / "data" / "daily"
    settings = {"TRAINING_COINS": "bitcoin,ethereum,solana", "TRAINING_BOOTSTRAP_DAYS": "730"}
    with tempfile.TemporaryDirectory() as var:
        options = StackOptions(Path(var), data=data if data.is_dir() else None, extra_environment=settings)
        with (
            stack_for_tests(options) as stack,
            httpx2.Client(base_url=stack.gateway_url, timeout=60) as client,
        ):
            print(f"{REQUESTS} requests of each kind; CPU ms a request")
            print(f"{'load':24}" + "".join(f"{name:>10}" for name in SERVICES) + f"{'all':>10}{'a core':>12}")
            for title, request in loads().items():
                for n in range(50):
                    path, query = request(n)
                    client.get(path, params=query)
                before = {name: figures(stack, client, name) for name in SERVICES}
                for n in range(REQUESTS):
                    path, query = request(n + 50)
                    client.get(path, params=query).raise_for_status()
                after = {name: figures(stack, client, name) for name in SERVICES}
                key = "process_cpu_seconds_total"
                cost = [1000 * (after[n][key] - before[n][key]) / REQUESTS for n in SERVICES]
                a_core = 1000 / max(sum(cost), 0.001)
                print(
                    f"{title:24}" + "".join(f"{c:10.2f}" for c in cost) + f"{sum(cost):10.2f}{a_core:9.0f} /s"
                )
            memory = [figures(stack, client, n)["process_resident_memory_bytes"] / 1e6 for n in SERVICES]
            print(
                f"{'resident memory, MB':24}" + "".join(f"{m:10.0f}" for m in memory) + f"{sum(memory):10.0f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
