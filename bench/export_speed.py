"""Measure the export of 250 coins x 5 years: time, peak memory of each service, and ratio to a bare read.

The bare read opens the same Parquet files in this process.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pyarrow.parquet as pq

from coincast_market_data.archive.store import write_candles
from coincast_market_data.domain import Candle
from coincast_stack.processes.ports import free_ports

COINS, DAYS = 250, 1825
# Nothing listens here: the upstream and the other services are not needed.
NOWHERE = "127.0.0.1:1"
# An export must not hold the whole table: the growth of each service's memory is bounded.
MOST_GROWTH_MB = {"market-data": 300.0, "gateway": 120.0}
MOST_RATIO = 40.0
READY_SECONDS = 120.0


def write_archive(folder: Path) -> list[Path]:
    """Write a random walk for each coin, up to yesterday; return the files."""
    rng = np.random.default_rng(1)
    last = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).date()
    days = [last - dt.timedelta(days=n) for n in range(DAYS - 1, -1, -1)]
    paths = []
    for number in range(COINS):
        closes = (100 * np.exp(np.cumsum(rng.normal(0, 0.03, DAYS)))).tolist()
        path = folder / "usd" / f"coin-{number}.parquet"
        candles = [
            Candle(day=day, close=c, open=c, high=c * 1.02, low=c * 0.98, volume=1e6 * c, market_cap=1e9 * c)
            for day, c in zip(days, closes, strict=True)
        ]
        write_candles(path, candles)
        paths.append(path)
    return paths


@contextmanager
def service(module: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def memory_mb(process: subprocess.Popen[bytes], line: str) -> float:
    """Return the resident memory in MB: now (`line` VmRSS) or at its highest (VmHWM)."""
    for row in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if row.startswith(line):
            return float(row.split()[1]) / 1024
    raise ValueError(f"{line} is not in the status of {process.pid}")


def wait_until_ready(client: httpx2.Client) -> None:
    """Wait until the gateway answers an export of one history."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        try:
            if client.get("/export/histories?ids=coin-0&days=5").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.5)
    raise TimeoutError("the services did not become ready")


def export_seconds(client: httpx2.Client, wanted: str) -> tuple[float, int]:
    """Export all coins and days in one format (`arrow`, `parquet` or `csv`).

    Returns:
        The wall seconds until the last byte, and the bytes received.
    """
    ids = ",".join(f"coin-{n}" for n in range(COINS))
    began, size = time.perf_counter(), 0
    with client.stream("GET", f"/export/histories?ids={ids}&days={DAYS}&format={wanted}") as reply:
        reply.raise_for_status()
        for part in reply.iter_bytes():
            size += len(part)
    return time.perf_counter() - began, size


def main() -> int:
    """Print the figures; return 1 if one of them exceeds its limit."""
    market_port, gateway_port, metrics_market, metrics_gateway = free_ports(4)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        paths = write_archive(Path(name))
        began = time.perf_counter()
        rows = sum(pq.read_table(path).num_rows for path in paths)
        plain = time.perf_counter() - began
        market = stack.enter_context(
            service(
                "coincast_market_data", MARKET_PORT=str(market_port), MARKET_METRICS_PORT=str(metrics_market),
                MARKET_ARCHIVE_DIR=name, MARKET_REDIS_URL="", MARKET_UPSTREAM_URL=f"http://{NOWHERE}/api/v3",
            )
        )  # fmt: skip
        gateway = stack.enter_context(
            service(
                "coincast_gateway", GATEWAY_PORT=str(gateway_port), GATEWAY_METRICS_PORT=str(metrics_gateway),
                GATEWAY_REDIS_URL="", GATEWAY_MARKET_TARGET=f"127.0.0.1:{market_port}",
                GATEWAY_FORECAST_TARGET=NOWHERE, GATEWAY_TRAINING_TARGET=NOWHERE,
            )
        )  # fmt: skip
        client = stack.enter_context(
            httpx2.Client(base_url=f"http://127.0.0.1:{gateway_port}", timeout=120, trust_env=False)
        )
        wait_until_ready(client)
        processes = {"market-data": market, "gateway": gateway}
        before = {name: memory_mb(process, "VmRSS") for name, process in processes.items()}
        print(f"{rows:,} candles; reading the {COINS} Parquet files: {plain:.2f} s")
        ratios = []
        for wanted in ("arrow", "parquet", "csv"):
            seconds, size = export_seconds(client, wanted)
            ratios.append(seconds / plain)
            times = f"{seconds / plain:.1f} times reading"
            print(f"export as {wanted}: {seconds:.2f} s, {size / 1e6:.1f} MB, {times}")
        good = max(ratios) <= MOST_RATIO
        print(f"slowest: {max(ratios):.1f} times reading (limit {MOST_RATIO:.0f})")
        for name_, process in processes.items():
            peak = memory_mb(process, "VmHWM")
            growth = peak - before[name_]
            good &= growth <= MOST_GROWTH_MB[name_]
            limit = MOST_GROWTH_MB[name_]
            print(f"{name_}: peak {peak:.0f} MB, {growth:.0f} more than before (limit {limit:.0f})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
