"""Measure calls a second and p99 at 1, 16 and 64 callers, and while the production version changes.

Run with `python bench/forecast_throughput.py FOLDER`. FOLDER holds versions (bench/forecast_versions.py).
Each figure is compared with an echo of the same reply through the same chassis, measured in alternation. The
calls per second of the server's CPU are printed as well, since other processes hardly affect them.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import uvloop
from forecast_rig import echo, forecast_service, market

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.errors import CoincastError
from coincast_modelkit.artifact import Aliases, aliases_path, read_aliases
from coincast_modelkit.durable_files import replace_file

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub

SECONDS, ROUNDS = 1.5, 3
REQUEST = pb.GetForecastsRequest(ids=["bitcoin"], days=7, model="lightgbm")


class Caller:
    """Call without a pause, and record the seconds of each call, the errors and the versions that served."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors = 0
        self.versions: set[str] = set()

    async def call(self, stub: ForecastServiceAsyncStub, until: float) -> None:
        """Call until a time of `time.perf_counter`."""
        while (began := time.perf_counter()) < until:
            try:
                reply = await stub.GetForecasts(REQUEST, timeout=20)
            except CoincastError:
                self.errors += 1
                continue
            self.seconds.append(time.perf_counter() - began)
            self.versions.add(reply.forecasts[0].version)


async def load(stub: ForecastServiceAsyncStub, callers: int, seconds: float) -> Caller:
    """Run concurrent callers for some seconds; return their common record."""
    caller = Caller()
    until = time.perf_counter() + seconds
    await asyncio.gather(*(caller.call(stub, until) for _ in range(callers)))
    return caller


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def p99_ms(seconds: list[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return 1e3 * statistics.quantiles(seconds, n=100)[98]


async def throughput(
    served: tuple[ForecastServiceAsyncStub, int], echoed: tuple[ForecastServiceAsyncStub, int]
) -> None:
    """Print the figures at 1, 16 and 64 callers.

    Args:
        served: A stub to the forecast service, and the pid of its process.
        echoed: A stub to the echo, and the pid of its process.
    """
    for callers in (1, 16, 64):
        kinds: dict[str, list[tuple[float, float, float]]] = {"forecast": [], "echo": []}
        for _ in range(ROUNDS):
            for kind, (stub, pid) in (("forecast", served), ("echo", echoed)):
                used = cpu_seconds(pid)
                seconds = (await load(stub, callers, SECONDS)).seconds
                cpu = max(1e-9, cpu_seconds(pid) - used)
                kinds[kind].append((len(seconds) / SECONDS, p99_ms(seconds), len(seconds) / cpu))
        rate, tail, efficiency = (
            statistics.median(column) for column in zip(*kinds["forecast"], strict=True)
        )
        echo_rate, echo_tail, echo_efficiency = (
            statistics.median(column) for column in zip(*kinds["echo"], strict=True)
        )
        print(
            f"{callers:2d} callers: {rate:5.0f} calls/s (echo {echo_rate:.0f}), "
            f"p99 {tail:.1f} ms (echo {echo_tail:.1f}), {efficiency:.0f} calls a CPU second "
            f"({efficiency / echo_efficiency:.2f} of an echo's {echo_efficiency:.0f})"
        )


async def swap(stub: ForecastServiceAsyncStub, root: Path) -> None:
    """Measure p99 before and while the production version changes to a copy of itself."""
    quiet = await load(stub, 16, 4)
    aliases = read_aliases(root, "lightgbm")
    busy = asyncio.create_task(load(stub, 16, 8))
    await asyncio.sleep(1)
    moved = Aliases(**{**asdict(aliases), "production": "v000002", "revision": aliases.revision + 1})
    replace_file(aliases_path(root, "lightgbm"), moved.to_bytes())
    during = await busy
    print(
        f"swap under load (16 callers): errors {during.errors + quiet.errors}, "
        f"versions {sorted(during.versions)}, p99 {p99_ms(during.seconds):.1f} ms during, "
        f"{p99_ms(quiet.seconds):.1f} ms before"
    )


def second_version(root: Path) -> None:
    """Copy version 1 as version 2, with a manifest and a seal of its own."""
    import json

    from coincast_modelkit.artifact.signature import make_seal

    folder = root / "lightgbm"
    shutil.copytree(folder / "v000001", folder / "v000002")
    manifest = json.loads((folder / "v000002" / "manifest.json").read_bytes())
    manifest["version"] = "v000002"
    raw = json.dumps(manifest, sort_keys=True, indent=1).encode() + b"\n"
    (folder / "v000002" / "manifest.json").write_bytes(raw)
    (folder / "v000002" / "manifest.seal").write_bytes(make_seal(raw, None))


async def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "artifacts"
        shutil.copytree(sys.argv[1], root)
        second_version(root)
        async with market() as target, forecast_service(target, root) as (stub, running):
            reply = await stub.GetForecasts(REQUEST)
            async with echo(reply) as (echoed, other):
                await throughput((stub, running.child.pid), (echoed, other.child.pid))
            await swap(stub, root)


if __name__ == "__main__":
    uvloop.run(main())
