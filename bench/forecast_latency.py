"""Measure the latency of GetForecasts over gRPC, each figure beside that of its parts.

Run with `python bench/forecast_latency.py FOLDER`. FOLDER holds versions (bench/forecast_versions.py).
Figures are medians of interleaved rounds; the ratios matter.
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
# Bounds of the forecast's time as a multiple of its parts. Network and ensemble of bench/forecast_versions.py
# make 50 Monte-Carlo passes.
NAMES = {"lightgbm": 3.0, "ml_ensemble": 2.0, "lstm": math.inf}
ENSEMBLE_MS = 15.0
COINS, CHEAPER = 250, 20.0


def bare_predict(root: Path, model: str) -> Any:
    """Return the model's own prediction of one coin at 30 horizons, at one thread."""
    from coincast_modelkit.artifact import read_aliases, read_artifact
    from coincast_modelkit.features import market_of
    from coincast_modelkit.model_input import prepare

    loaded = read_artifact(root, model, read_aliases(root, model).production).model
    panel = panel_of(DATA)
    prepared = [prepare(panel["bitcoin"], market_of(panel), loaded.spec)]

    async def predict() -> None:
        loaded.predict(prepared, range(1, 31))

    return predict


def described(root: Path, model: str) -> str:
    """Return the model's name, with the network if the ensemble has one."""
    from coincast_modelkit.artifact import read_aliases, read_artifact

    loaded = read_artifact(root, model, read_aliases(root, model).production).model
    rnn = getattr(loaded, "rnn", None)
    return f"{model} with a network of {len(rnn.network.context_masks)} passes" if rnn is not None else model


class Verdicts:
    """Print figures beside their bounds, and record which missed one."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def judged(self, what: str, holds: bool) -> str:
        """Return the verdict to print after a figure."""
        if not holds:
            self.missed.append(what)
        return "ok" if holds else "OVER"

    def parts(self, what: str, seconds: float, limit: float, bound: float) -> None:
        """Print one line: the figure, its limit, the ratio, and the bound if there is one."""
        ratio = seconds / limit
        note = f" (bound {bound:g}) {self.judged(what, ratio <= bound)}" if math.isfinite(bound) else ""
        print(
            f"{what:50s} {1e3 * seconds:8.2f} ms  parts {1e3 * limit:8.2f} ms  {ratio:5.2f}x{note}",
            flush=True,
        )

    def cheaper(self, what: str, one: float, many: float, *, judged: bool) -> None:
        """Print one line: many coins in a call beside one coin at a time."""
        times = one / (many / COINS)
        note = f" (bound {CHEAPER:g}) {self.judged(what, times >= CHEAPER)}" if judged else ""
        each = f"{1e3 * many:.1f} ms, {1e6 * many / COINS:.0f} us a coin"
        print(f"{what}: {each}, {times:.1f} times cheaper than alone{note}", flush=True)


async def main() -> None:
    """Print all figures; exit 1 if one exceeds its bound."""
    root, verdicts = Path(sys.argv[1]), Verdicts()
    async with market() as target:
        await uncached(target, root, verdicts)
        await cached(target, root, verdicts)
    sys.exit(1 if verdicts.missed else 0)


def asking(stub: ForecastServiceAsyncStub, request: pb.GetForecastsRequest) -> Callable[[], Awaitable[Any]]:
    """Return a function that sends the request."""
    return lambda: stub.GetForecasts(request, timeout=60)


async def uncached(target: str, root: Path, verdicts: Verdicts) -> None:
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
                    "forecast": asking(stub, request),
                    "echo": asking(echoed, request),
                    "bare": bare_predict(root, model),
                }
                figures = await interleaved(calls, rounds=ROUNDS, times=TIMES)
            print(f"  echo {1e3 * figures['echo']:.2f} ms, bare predict {1e3 * figures['bare']:.2f} ms")
            what = f"{described(root, model)}, one coin, 30 days"
            verdicts.parts(what, figures["forecast"], figures["echo"] + figures["bare"], bound)
            if model == "ml_ensemble":
                holds = verdicts.judged("milliseconds", 1e3 * figures["forecast"] < ENSEMBLE_MS)
                print(f"  below {ENSEMBLE_MS:g} ms on a quiet machine: {holds}")
            what = f"{model}, {COINS} coins in one call, each computed and rendered"
            await _many(stub, request, what, verdicts, judged=False)


async def cached(target: str, root: Path, verdicts: Verdicts) -> None:
    """Measure a repeated forecast, and many coins in one call."""
    async with forecast_service(target, root) as (stub, _):
        for days in (7, 30):
            one = pb.GetForecastsRequest(ids=["bitcoin"], days=days, model="lightgbm")
            reply = await stub.GetForecasts(one, timeout=60)
            async with echo(reply) as (echoed, _):
                calls = {"kept": asking(stub, one), "echo": asking(echoed, one)}
                figures = await interleaved(calls, rounds=ROUNDS, times=TIMES * 3)
            what = f"a cached forecast, {days} days, against an echo"
            verdicts.parts(what, figures["kept"], figures["echo"], 1.5)
            await _many(stub, one, f"{COINS} coins in one call, {days} days, cached", verdicts, judged=True)


async def _many(
    stub: ForecastServiceAsyncStub,
    one: pb.GetForecastsRequest,
    what: str,
    verdicts: Verdicts,
    *,
    judged: bool,
) -> None:
    """Measure one coin at a time beside many in a call, both by the same model.

    The bound applies as the service serves: a forecast of a warm history is cached until its coin has a new
    day. With the cache off, 7,500 days are computed and encoded, which no batch makes cheaper.
    """
    ids = [f"like-{i}" for i in range(COINS)]
    batch = pb.GetForecastsRequest(ids=ids, days=one.days, model=one.model)
    await _until_served(stub, batch)
    calls = {"one": asking(stub, one), "many": asking(stub, batch)}
    figures = await interleaved(calls, rounds=ROUNDS, times=15)
    verdicts.cheaper(what, figures["one"], figures["many"], judged=judged)


async def _until_served(stub: ForecastServiceAsyncStub, batch: pb.GetForecastsRequest) -> None:
    """Wait until the model itself serves every coin: on a busy machine the first call may be late."""
    for _ in range(20):
        reply = await stub.GetForecasts(batch, timeout=60)
        if {f.served_by for f in reply.forecasts} == {batch.model}:
            return
    print(f"  not every coin was served by {batch.model}")


if __name__ == "__main__":
    import_blocker.install()
    uvloop.run(main())
