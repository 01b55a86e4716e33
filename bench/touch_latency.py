"""Compare a warm request of a touch probability with a warm forecast of the same coin, over gRPC.

`python bench/touch_latency.py`.

The service runs as a process, with the starter version of LightGBM and simulated candles. Figures are medians
of interleaved rounds; their ratio is the result. A request with a new level is logged before it is answered,
like the first forecast of a day. It is measured too, without a bound.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from forecast_rig import forecast_service, interleaved, market

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_modelkit.artifact import Aliases, aliases_path
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.features import REFERENCE_COINS
from coincast_training.starter.build import simulated_candles
from coincast_training.starter.install import STARTER_DIR

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub

MODEL, VERSION = "lightgbm", "v000001"
# The simulated days begin in 2020. They end after the past days of the starter's scenario library, since only
# earlier ones are used.
DAYS = 2200
ROUNDS, TIMES = 9, 60
BOUND = 3.0


async def main() -> int:
    """Print the figures and return the exit code: 1 if the ratio exceeds its bound."""
    panel = {coin: simulated_candles(coin, seed, DAYS) for seed, coin in enumerate(REFERENCE_COINS, start=1)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(STARTER_DIR / MODEL, root / MODEL)
        replace_file(aliases_path(root, MODEL), Aliases(production=VERSION, revision=1).to_bytes())
        async with market(panel) as target, forecast_service(target, root) as (stub, _):
            return await compare(stub, sorted(panel))


async def compare(stub: ForecastServiceAsyncStub, coins: list[str]) -> int:
    """Measure and print the touch requests and the forecasts; return the exit code."""
    one, many = coins[:1], coins
    levels = itertools.count(1)
    # Its level is changed a little before each request, so that no earlier request had the same.
    fresh = touch(one, [pb.TouchLevel(percent=0)], days=7)

    def new_level() -> Awaitable[Any]:
        fresh.levels[0].percent = 5 + 1e-4 * next(levels)
        return stub.EstimateTouch(fresh, timeout=60)

    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "forecast": lambda: stub.GetForecasts(
            pb.GetForecastsRequest(ids=one, days=7, model=MODEL), timeout=60
        ),
        "touch": lambda: stub.EstimateTouch(touch(one, [pb.TouchLevel(percent=5)], days=7), timeout=60),
        "new level": new_level,
        "many": lambda: stub.EstimateTouch(
            touch(many, [pb.TouchLevel(percent=percent) for percent in (-10, -5, -2, 2, 5, 10)], days=14),
            timeout=60,
        ),
    }
    reply = await calls["forecast"]()
    if reply.forecasts[0].served_by != MODEL:
        print(f"not served by {MODEL}: {reply.forecasts[0].reason}")
        return 1
    for call in calls.values():
        await call()
    figures = await interleaved(calls, rounds=ROUNDS, times=TIMES)
    ratio = figures["touch"] / figures["forecast"]
    verdict = "ok" if ratio <= BOUND else "OVER"
    print(
        f"a warm touch request, one coin, 7 days: {1e3 * figures['touch']:.2f} ms; a warm forecast: "
        f"{1e3 * figures['forecast']:.2f} ms; {ratio:.2f} times (bound {BOUND:g}) {verdict}"
    )
    print(
        f"a new level, logged before it is answered: {1e3 * figures['new level']:.2f} ms; "
        f"{len(many)} coins x 6 levels x 14 days, warm: {1e3 * figures['many']:.2f} ms"
    )
    return int(ratio > BOUND)


def touch(ids: list[str], levels: list[pb.TouchLevel], *, days: int) -> pb.EstimateTouchRequest:
    """Return a request of touch probabilities."""
    return pb.EstimateTouchRequest(ids=ids, levels=levels, days=days, model=MODEL)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
