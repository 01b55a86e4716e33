"""Measure what each cache on the path of a forecast gains: `python bench/forecast_caches.py`.

The service runs in this process without gRPC, over a history source in memory and the technical model. A
warm forecast of one coin is measured with all caches. Each further line disables one more cache: first that
of the responses, last that of the features. Figures are medians of interleaved rounds, in CPU milliseconds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from coincast_chassis.clock import SystemClock
from coincast_forecast.domain import (
    TECHNICAL,
    ForecastQuery,
    History,
    LedgerCounts,
    LiveScores,
    Provenance,
    Source,
)
from coincast_forecast.fallback.executor import FallbackChain
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.history.cache import HistoryCache
from coincast_forecast.inference.predictor import Predictor
from coincast_forecast.prediction_log.recorder import Recorder
from coincast_forecast.registry.deployment import Deployment, LiveVersion, Snapshot
from coincast_forecast.rendering.service import Explainer, ForecastRenderer
from coincast_forecast.response_cache import ResponseCache
from coincast_forecast.service import Dependencies, ForecastService
from coincast_forecast.shadow_traffic import ShadowTraffic
from coincast_modelkit.features.market import REFERENCE_COINS
from coincast_modelkit.models import TechnicalModel
from coincast_training.starter.build import simulated_candles

ROUNDS, CALLS = 9, 20
DAYS_OF_HISTORY = 800
LIMIT_SECONDS = 60.0
# In the order in which they are disabled.
CACHES = ("response", "rendering", "prediction", "features")
# The technical model by its name: with `auto`, a forecast by it would be degraded, and not cached.
QUERY = ForecastQuery(ids=(REFERENCE_COINS[0],), days=30, model=TECHNICAL)


class MemorySource:
    """A history source that has every reference coin."""

    def __init__(self) -> None:
        provenance = Provenance(Source.SANDBOX)
        self._histories = {
            coin: History(simulated_candles(coin, seed=i, days=DAYS_OF_HISTORY), provenance)
            for i, coin in enumerate(REFERENCE_COINS)
        }

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int, *, sparkline_ids: Sequence[str] = ()
    ) -> Mapping[str, History]:
        """Return the histories."""
        return {coin: self._histories[coin] for coin in ids}

    async def last_closed_day(self, vs_currency: str) -> dt.date:
        """Return the last day of the histories."""
        return self._histories[REFERENCE_COINS[0]].candles.as_of


class NoLedger:
    """A ledger that accepts every entry at once and stores none."""

    async def append(self, entries: Sequence[object]) -> bool:
        """Discard the entries."""
        return True

    def counts(self) -> LedgerCounts:
        """Return zero for each count."""
        return LedgerCounts()


@dataclass(frozen=True, slots=True)
class Sizes:
    """The size of each cache: rows, for the features bytes. 0 disables a cache."""

    response: int = 600
    rendering: int = 600
    prediction: int = 600
    features: int = 24 * 2**20


def build_service(source: MemorySource, sizes: Sizes, stack: ExitStack) -> ForecastService:
    """Return the service with caches of these sizes."""
    clock = SystemClock()
    predictor = Predictor(
        TechnicalModel(),
        limit_seconds=LIMIT_SECONDS,
        max_batch=250,
        keep_rows=sizes.prediction,
        timer=time.perf_counter,
    )
    stack.callback(predictor.stop)
    features = FeatureCache(keep_bytes=sizes.features, limit_seconds=LIMIT_SECONDS)
    stack.callback(features.stop)
    technical = LiveVersion(TECHNICAL, "", predictor, dt.datetime.now(dt.UTC))
    snapshot: Snapshot = {TECHNICAL: Deployment(production=technical)}
    recorder = Recorder(NoLedger(), clock)
    return ForecastService(
        Dependencies(
            histories=HistoryCache(
                source,
                clock,
                days=DAYS_OF_HISTORY,
                coins=100,
                timeout_seconds=LIMIT_SECONDS,
                retry_seconds=60.0,
                stale_after_seconds=3600.0,
            ),
            features=features,
            fallback_chain=FallbackChain(
                features, step_timeout_seconds=LIMIT_SECONDS, remaining_seconds=lambda: None
            ),
            renderer=ForecastRenderer(sizes.rendering),
            explainer=Explainer(0, LIMIT_SECONDS, lambda: None),
            recorder=recorder,
            shadow_traffic=ShadowTraffic(features, recorder, queue_coins=1),
            response_cache=ResponseCache(sizes.response),
            deployments=OneModel(snapshot),
            scores=NoScores(),
            clock=clock,
        )
    )


@dataclass(frozen=True)
class OneModel:
    """Deployments that never change."""

    snapshot: Snapshot


@dataclass(frozen=True)
class NoScores:
    """Live scores of which there are none."""

    current: LiveScores = field(default_factory=lambda: LiveScores({}))


async def cpu_milliseconds(service: ForecastService) -> float:
    """Return the CPU milliseconds of a forecast, the mean of CALLS calls."""
    began = time.process_time()
    for _ in range(CALLS):
        reply = await service.forecast(QUERY)
        if not reply.forecasts or reply.errors:
            raise RuntimeError(f"no forecast: {reply.errors}")
    return 1e3 * (time.process_time() - began) / CALLS


async def measure() -> dict[str, float]:
    """Return the median CPU milliseconds, by the cache that was disabled last; `none` for all caches."""
    source = MemorySource()
    with ExitStack() as stack:
        services = {"none": build_service(source, Sizes(), stack)}
        off: dict[str, int] = {}
        for name in CACHES:
            off[name] = 0
            services[name] = build_service(source, Sizes(**off), stack)
        for service in services.values():
            await service.forecast(QUERY)
        gc.collect()
        found: dict[str, list[float]] = {name: [] for name in services}
        for _ in range(ROUNDS):
            for name, service in services.items():
                found[name].append(await cpu_milliseconds(service))
        return {name: statistics.median(values) for name, values in found.items()}


def main() -> int:
    """Print the gain of each cache; return 1 if a forecast is no slower without one of them."""
    found = asyncio.run(measure())
    print(f"all caches: {found['none']:.3f} ms of CPU a forecast of one coin, 30 days")
    before, useless = found["none"], []
    for name in CACHES:
        ratio = found[name] / before
        print(f"{name} off as well: {found[name]:.3f} ms, {ratio:.1f} times")
        if ratio <= 1.0:
            useless.append(name)
        before = found[name]
    if useless:
        print(f"without a gain: {', '.join(useless)}")
    return int(bool(useless))


if __name__ == "__main__":
    sys.exit(main())
