"""Composition root: build the forecast service from its settings."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from coincast.forecast.v1.forecast_pb2_grpc import add_ForecastServiceServicer_to_server
from coincast_chassis import context
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.redis import open_redis
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_forecast.domain import TECHNICAL
from coincast_forecast.fallback.executor import FallbackChain
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.features.hours import DayHours
from coincast_forecast.grpc.servicer import ForecastServicer
from coincast_forecast.grpc.status import StatusReporter
from coincast_forecast.history.cache import CLOCK_COIN, HistoryCache
from coincast_forecast.history.market_client import SERVICE as MARKET_SERVICE
from coincast_forecast.history.market_client import MarketClient
from coincast_forecast.hourly.histories import HourlyHistories
from coincast_forecast.hourly.past import PastHourlyForecasts, PastHours, SourceClock
from coincast_forecast.hourly.service import HourlyForecastService
from coincast_forecast.hourly.versions import HistoricalHourlyVersions, HourlyRegistry, HourlyVersions
from coincast_forecast.hourly.within_day import WithinDay
from coincast_forecast.inference.predictor import Predictor
from coincast_forecast.point_in_time import PastDependencies, PointInTimeService
from coincast_forecast.prediction_log.recorder import Recorder
from coincast_forecast.prediction_log.writer import LedgerWriter, Stream, claim_own
from coincast_forecast.registry.deployment import LiveVersion
from coincast_forecast.registry.historical import HistoricalVersions
from coincast_forecast.registry.live_records import open_live_risk, open_live_scores
from coincast_forecast.registry.loader import ModelLoader
from coincast_forecast.rendering.service import Explainer, ForecastRenderer, rehearse
from coincast_forecast.response_cache import ResponseCache
from coincast_forecast.runtime import malloc_trim
from coincast_forecast.scenarios.recorder import RiskRecorder
from coincast_forecast.scenarios.service import ScenarioService
from coincast_forecast.service import Dependencies, ForecastService
from coincast_forecast.settings import Settings
from coincast_forecast.shadow_traffic import ShadowTraffic
from coincast_modelkit.artifact import LoadedArtifact
from coincast_modelkit.models import ForecastModel, TechnicalModel

# Stored hours that lack the newest hour are read again after this time; to read them takes milliseconds per
# coin.
STORED_RETRY_SECONDS = 60.0
FULL_NAME = "coincast.forecast.v1.ForecastService"


async def build(settings: Settings, stack: AsyncExitStack) -> ServiceApp:
    """Return the service with its background tasks running; the exit stack stops them in reverse order."""
    clock = steady_clock()
    loader = _build_loader(settings, clock)
    stack.callback(loader.stop)
    market = await _build_market_client(settings, stack)
    histories = _build_histories(settings, stack, clock, market)
    ledger = await _build_ledger(settings, stack)
    scores = open_live_scores(settings.artifacts_dir)
    live_risk = open_live_risk(settings.artifacts_dir)
    hourly_histories, stored_hours = await _build_hourly_histories(settings, stack, clock)
    response_cache = ResponseCache(settings.forecast_cache_rows)
    day_hours = DayHours(hourly_histories, clock, on_rows=response_cache.clear)
    features = FeatureCache(
        keep_bytes=round(settings.prepared_megabytes * 2**20),
        limit_seconds=settings.step_timeout_seconds,
        hours=day_hours,
    )
    stack.callback(features.stop)
    recorder = Recorder(ledger, clock)
    shadow_traffic = ShadowTraffic(features, recorder, queue_coins=settings.shadow_queue_coins)
    registry = HourlyRegistry(settings.artifacts_dir, _signing_key(settings), settings.require_signature)
    hourly_versions = HourlyVersions(registry, clock)
    within_day = WithinDay(stored_hours, hourly_versions)
    stack.push_async_callback(within_day.aclose)
    service = ForecastService(
        Dependencies(
            histories=histories,
            features=features,
            fallback_chain=FallbackChain(
                features,
                step_timeout_seconds=settings.step_timeout_seconds,
                remaining_seconds=context.remaining_seconds,
            ),
            renderer=ForecastRenderer(settings.forecast_cache_rows),
            explainer=Explainer(
                settings.forecast_cache_rows, settings.step_timeout_seconds, context.remaining_seconds
            ),
            recorder=recorder,
            shadow_traffic=shadow_traffic,
            response_cache=response_cache,
            deployments=loader,
            scores=scores,
            clock=clock,
            within_day=within_day,
        )
    )
    status = StatusReporter(
        clock=clock,
        started_at=clock.monotonic(),
        histories=histories,
        ledger=ledger,
        registry=loader,
        hourly=hourly_versions,
    )
    hourly = HourlyForecastService(hourly_histories, hourly_versions, service, recorder, clock)
    source_clock = _source_clock(histories)
    past_hours = PastHours(
        hourly_histories, HistoricalHourlyVersions(registry, hourly_versions), source_clock
    )
    past = _build_past(
        settings,
        stack,
        loader,
        clock=source_clock,
        market=market,
        hours=past_hours,
    )
    scenarios = ScenarioService(
        service,
        past,
        cache_bytes=round(settings.scenario_megabytes * 2**20),
        limit_seconds=settings.scenario_timeout_seconds,
    )
    stack.callback(scenarios.stop)
    servicer = ForecastServicer(
        service,
        scenarios,
        risk_recorder=RiskRecorder(ledger),
        live_risk=live_risk,
        hourly=hourly,
        past=past,
        past_hours=PastHourlyForecasts(past_hours, past),
        status=status,
        clock=clock,
    )
    first_refresh = asyncio.Event()
    for work in (
        histories.watch_days(settings.day_check_seconds),
        ledger.drain_forever(settings.ledger_drain_seconds),
        loader.watch(settings.watch_seconds, first_refresh),
        hourly_versions.watch(settings.watch_seconds),
        scores.poll(settings.watch_seconds),
        live_risk.poll(settings.watch_seconds),
        shadow_traffic.work(),
        day_hours.work(),
        malloc_trim.trim_periodically(settings.give_back_seconds),
    ):
        _start_background_task(stack, work)
    services = [Servicer(add_ForecastServiceServicer_to_server, servicer, FULL_NAME)]
    return ServiceApp(services, lambda: _warm_up(first_refresh, settings.warm_seconds))


async def _warm_up(first_refresh: asyncio.Event, limit_seconds: float) -> None:
    """Import slow modules, then wait for production versions up to a limit; technical needs none."""
    await asyncio.to_thread(rehearse)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(first_refresh.wait(), limit_seconds)


def _build_loader(settings: Settings, clock: Clock) -> ModelLoader:
    def predictor_of(model: ForecastModel) -> Predictor:
        return Predictor(
            model,
            limit_seconds=settings.step_timeout_seconds,
            max_batch=settings.max_batch_coins,
            keep_rows=settings.forecast_cache_rows,
            timer=time.perf_counter,
        )

    def predictor_of_artifact(artifact: LoadedArtifact) -> Predictor:
        return predictor_of(artifact.model)

    technical = LiveVersion(
        TECHNICAL, "", predictor_of(TechnicalModel()), datetime.fromtimestamp(clock.now(), UTC)
    )
    return ModelLoader(
        settings.artifacts_dir,
        technical,
        predictor_of_artifact,
        clock,
        trial_timeout_seconds=settings.trial_timeout_seconds,
        retry_seconds=settings.refused_retry_seconds,
        key=_signing_key(settings),
        require_signature=settings.require_signature,
    )


async def _build_market_client(settings: Settings, stack: AsyncExitStack) -> MarketClient:
    channel = await stack.enter_async_context(open_channel(settings.market_target, service=MARKET_SERVICE))
    return MarketClient(channel, settings.history_timeout_seconds)


def _build_histories(
    settings: Settings, stack: AsyncExitStack, clock: Clock, market: MarketClient
) -> HistoryCache:
    histories = HistoryCache(
        market,
        clock,
        days=settings.history_days,
        coins=settings.history_coins,
        timeout_seconds=settings.history_timeout_seconds,
        retry_seconds=settings.history_retry_seconds,
        stale_after_seconds=settings.stale_after_seconds,
    )
    stack.push_async_callback(histories.aclose)
    return histories


def _source_clock(histories: HistoryCache) -> SourceClock:
    def clock_offset() -> float | None:
        clock_coin = histories.peek(CLOCK_COIN, "usd")
        return clock_coin.provenance.clock_offset_seconds if clock_coin is not None else None

    return SourceClock(clock_offset, steady_clock().monotonic)


def _build_past(
    settings: Settings,
    stack: AsyncExitStack,
    loader: ModelLoader,
    *,
    clock: SourceClock,
    market: MarketClient,
    hours: PastHours,
) -> PointInTimeService:
    versions = HistoricalVersions(
        settings.artifacts_dir,
        deployments=loader,
        load=loader.load_version,
        wait_seconds=settings.step_timeout_seconds,
    )
    stack.push_async_callback(versions.aclose)
    past = PointInTimeService(
        PastDependencies(
            source=market,
            versions=versions,
            renderer=ForecastRenderer(0),
            clock=clock,
            remaining_seconds=context.remaining_seconds,
            history_days=settings.history_days,
            step_timeout_seconds=settings.step_timeout_seconds,
            hours=hours,
        )
    )
    stack.callback(past.stop)
    return past


def _signing_key(settings: Settings) -> bytes | None:
    return settings.signing_key.get_secret_value().encode() if settings.signing_key is not None else None


async def _build_hourly_histories(
    settings: Settings, stack: AsyncExitStack, clock: Clock
) -> tuple[HourlyHistories, HourlyHistories]:
    """Return the hourly histories for hourly forecasts, and the stored-only ones for daily forecasts."""
    channel = await stack.enter_async_context(open_channel(settings.market_target, service=MARKET_SERVICE))
    timeout_seconds = settings.history_timeout_seconds
    return (
        HourlyHistories(channel, clock, timeout_seconds=timeout_seconds),
        HourlyHistories(
            channel,
            clock,
            timeout_seconds=timeout_seconds,
            stored_only=True,
            retry_seconds=STORED_RETRY_SECONDS,
        ),
    )


async def _build_ledger(settings: Settings, stack: AsyncExitStack) -> LedgerWriter:
    client = open_redis(settings.redis_url)
    stack.push_async_callback(client.aclose)
    own = await asyncio.to_thread(claim_own, settings.spool_dir, settings.replica or socket.gethostname())
    ledger = LedgerWriter(Stream(client), own)
    stack.push_async_callback(ledger.aclose)
    return ledger


def _start_background_task(stack: AsyncExitStack, work: Coroutine[object, object, None]) -> None:
    """Run a coroutine in the background; the exit stack cancels and awaits it."""
    task = asyncio.create_task(work)

    async def end() -> None:
        await cancel_and_wait({task})

    stack.push_async_callback(end)
