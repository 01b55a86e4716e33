"""Measure the latency of GetForecasts over gRPC, and compare it with that of its parts.

The parts are an echo of the same reply over the same chassis, and the bare prediction of the model.
Run with `python bench/forecast_latency.py FOLDER`. FOLDER holds versions (bench/forecast_versions.py).
Figures are medians of interleaved rounds. The ratios are the result; the seconds depend on the machine.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from forecast_rig import DATA, echo, forecast_service, interleaved, market, panel_of

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_forecast.runtime import import_blocker

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub

ROUNDS, TIMES = 9, 40
# Bounds of the forecast's time as a multiple of its parts' time. The network, alone and in the ensemble of
# bench/forecast_versions.py, makes 50 Monte-Carlo passes.
NAMES = {"lightgbm": 3.0, "ml_ensemble": 2.0, "lstm": math.inf}
ENSEMBLE_MS = 15.0
COINS, CHEAPER = 250, 20.0


def bare_predict(root: Path, model: str) -> Any:
    """Return a call of the model itself, for one coin at 30 horizons, on one thread."""
    from coincast_modelkit.artifact import read_aliases, read_artifact
    from coincast_modelkit.features import market_of
    from coincast_modelkit.model_input import prepare

    loaded = read_artifact(root, model, read_aliases(root, model).production).model
    panel = panel_of(DATA)
    prepared = [prepare(panel["bitcoin"], market_of(panel), loaded.spec)]

    async def predict() -> None:
        loaded.predict(prepared, range(1, 31))

    return predict


def describe(root: Path, model: str) -> str:
    """Return the model's name, and the passes of its network if it is an ensemble with one."""
    from coincast_modelkit.artifact import read_aliases, read_artifact

    loaded = read_artifact(root, model, read_aliases(root, model).production).model
    rnn = getattr(loaded, "rnn", None)
    return f"{model} with a network of {len(rnn.network.context_masks)} passes" if rnn is not None else model


class Verdicts:
    """Print figures with their bounds, and record which figures miss their bound."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def judge(self, what: str, holds: bool) -> str:
        """Record the figure if its bound does not hold; return the verdict to print after it."""
        if not holds:
            self.missed.append(what)
        return "ok" if holds else "OVER"

    def compare_with_parts(self, what: str, seconds: float, limit: float, bound: float) -> None:
        """Print one line: the figure, that of its parts, their ratio, and the bound if there is one.

        Args:
            what: What was measured.
            seconds: The seconds of a call.
            limit: The seconds of its parts, the least that the call can take.
            bound: The greatest ratio of the two; infinity for none.
        """
        ratio = seconds / limit
        note = f" (bound {bound:g}) {self.judge(what, ratio <= bound)}" if math.isfinite(bound) else ""
        print(
            f"{what:50s} {1e3 * seconds:8.2f} ms  parts {1e3 * limit:8.2f} ms  {ratio:5.2f}x{note}",
            flush=True,
        )

    def compare_with_batch(self, what: str, one: float, many: float, *, bounded: bool) -> None:
        """Print one line: how many times cheaper a coin is in a call of COINS coins than alone.

        Args:
            what: What was measured.
            one: The seconds of a call with one coin.
            many: The seconds of a call with COINS coins.
            bounded: Whether the bound CHEAPER applies.
        """
        times = one / (many / COINS)
        note = f" (bound {CHEAPER:g}) {self.judge(what, times >= CHEAPER)}" if bounded else ""
        each = f"{1e3 * many:.1f} ms, {1e6 * many / COINS:.0f} us a coin"
        print(f"{what}: {each}, {times:.1f} times cheaper than alone{note}", flush=True)


async def main() -> None:
    """Print all figures; exit with 1 if one exceeds its bound."""
    root, verdicts = Path(sys.argv[1]), Verdicts()
    async with market() as target:
        await measure_uncached(target, root, verdicts)
        await measure_cached(target, root, verdicts)
    sys.exit(1 if verdicts.missed else 0)


def call_of(stub: ForecastServiceAsyncStub, request: pb.GetForecastsRequest) -> Callable[[], Awaitable[Any]]:
    """Return a function that sends the request."""
    return lambda: stub.GetForecasts(request, timeout=60)


async def measure_uncached(target: str, root: Path, verdicts: Verdicts) -> None:
    """Measure forecasts of a warm history with the forecast cache off."""
    async with forecast_service(target, root, forecast_cache_rows=0) as (stub, _):
        for model, bound in NAMES.items():
            request = pb.GetForecastsRequest(ids=["bitcoin"], days=30, model=model)
            reply = await stub.GetForecasts(request)
            if reply.forecasts[0].served_by != model:
                print(f"{model}: not loaded ({reply.forecasts[0].reason})")
                continue
            async with echo(reply) as (echoed, _):
                calls = {
                    "forecast": call_of(stub, request),
                    "echo": call_of(echoed, request),
                    "bare": bare_predict(root, model),
                }
                figures = await interleaved(calls, rounds=ROUNDS, times=TIMES)
            print(f"  echo {1e3 * figures['echo']:.2f} ms, bare predict {1e3 * figures['bare']:.2f} ms")
            what = f"{describe(root, model)}, one coin, 30 days"
            verdicts.compare_with_parts(what, figures["forecast"], figures["echo"] + figures["bare"], bound)
            if model == "ml_ensemble":
                holds = verdicts.judge("milliseconds", 1e3 * figures["forecast"] < ENSEMBLE_MS)
                print(f"  below {ENSEMBLE_MS:g} ms on a quiet machine: {holds}")
            what = f"{model}, {COINS} coins in one call, each computed and rendered"
            await _measure_batch(stub, request, what, verdicts, bounded=False)


async def measure_cached(target: str, root: Path, verdicts: Verdicts) -> None:
    """Measure a repeated forecast, and many coins in one call."""
    async with forecast_service(target, root) as (stub, _):
        for days in (7, 30):
            one = pb.GetForecastsRequest(ids=["bitcoin"], days=days, model="lightgbm")
            reply = await stub.GetForecasts(one, timeout=60)
            async with echo(reply) as (echoed, _):
                calls = {"cached": call_of(stub, one), "echo": call_of(echoed, one)}
                figures = await interleaved(calls, rounds=ROUNDS, times=TIMES * 3)
            what = f"a cached forecast, {days} days, against an echo"
            verdicts.compare_with_parts(what, figures["cached"], figures["echo"], 1.5)
            what = f"{COINS} coins in one call, {days} days, cached"
            await _measure_batch(stub, one, what, verdicts, bounded=True)


async def _measure_batch(
    stub: ForecastServiceAsyncStub,
    one: pb.GetForecastsRequest,
    what: str,
    verdicts: Verdicts,
    *,
    bounded: bool,
) -> None:
    """Compare a call of one coin with a call of COINS coins, both by the same model.

    The bound applies only with the forecast cache, as the service runs: it caches a forecast until its coin
    has a new day. Without the cache, 7,500 forecast days are computed and encoded, which no batch makes
    cheaper.
    """
    ids = [f"like-{i}" for i in range(COINS)]
    batch = pb.GetForecastsRequest(ids=ids, days=one.days, model=one.model)
    await _until_served(stub, batch)
    calls = {"one": call_of(stub, one), "many": call_of(stub, batch)}
    figures = await interleaved(calls, rounds=ROUNDS, times=15)
    verdicts.compare_with_batch(what, figures["one"], figures["many"], bounded=bounded)


async def _until_served(stub: ForecastServiceAsyncStub, batch: pb.GetForecastsRequest) -> None:
    """Wait until the model itself serves every coin.

    On a busy machine the first call may exceed its deadline, and is then served by a fallback.
    """
    for _ in range(20):
        reply = await stub.GetForecasts(batch, timeout=60)
        if {f.served_by for f in reply.forecasts} == {batch.model}:
            return
    print(f"  not every coin was served by {batch.model}")


if __name__ == "__main__":
    import_blocker.install()
    uvloop.run(main())
