"""Composition root: build the training service from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc.aio
import structlog
from redis.asyncio import Redis

from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.app import ServiceApp
from coincast_chassis.app import Servicer as Entry
from coincast_chassis.clock import steady_clock
from coincast_chassis.errors import Unavailable
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.observability.metrics import watch_disk
from coincast_chassis.redis import open_redis
from coincast_chassis.resilience.background_tasks import BackgroundTasks
from coincast_modelkit.scenarios.live_record import LIVE_RISK_FILE
from coincast_training import metrics
from coincast_training.bootstrap import bootstrap
from coincast_training.domain import HOURLY_MODELS, TRAINED_MODELS
from coincast_training.drift.assessment import DriftThresholds
from coincast_training.drift.monitor import DriftMonitor, DriftPolicy
from coincast_training.gauge_updater import keep_observing
from coincast_training.grpc.accuracy import AccuracyServicer
from coincast_training.grpc.jobs import TrainingServicer
from coincast_training.grpc.registry import RegistryServicer
from coincast_training.grpc.status import StatusService
from coincast_training.jobs.runner import ProcessRunner
from coincast_training.jobs.service import JobService
from coincast_training.jobs.stores.redis import RedisJobStore
from coincast_training.jobs.validation import JobLimits
from coincast_training.market_client import MarketDataHistory
from coincast_training.pipeline.factory import open_registry
from coincast_training.registry.registry import Registry
from coincast_training.schedule.cron import Calendar
from coincast_training.scoring.consumer import LedgerConsumer
from coincast_training.scoring.lag import LedgerWatch
from coincast_training.scoring.risk.service import RiskLedgerService
from coincast_training.scoring.risk.store import RiskStore
from coincast_training.scoring.service import LedgerService
from coincast_training.scoring.source_calendar import SourceCalendar
from coincast_training.scoring.store import LedgerStore
from coincast_training.settings import Settings
from coincast_training.starter.install import install_starters
from coincast_training.trainers.registry import unavailable_reason

log = structlog.get_logger(__name__)
PACKAGE = "coincast.training.v1"


async def build(settings: Settings, stack: AsyncExitStack) -> ServiceApp:
    """Build the service; the exit stack closes its resources in reverse order."""
    redis = open_redis(settings.redis_url, timeout_seconds=0.5)
    stack.push_async_callback(redis.aclose)
    registry = open_registry(settings)
    jobs = _jobs(settings, redis)
    stack.push_async_callback(jobs.stop)
    channel = open_channel(settings.market_target, service="coincast.market.v1.MarketDataService")
    stack.push_async_callback(channel.close)
    ledger = _ledger(settings, redis, channel)
    calendar = _calendar(settings, jobs, registry)
    stack.callback(calendar.stop)
    watch_disk("artifacts", settings.artifacts_dir)
    watch_disk("ledger", settings.ledger_dir)
    monitor = _monitor(settings, jobs, registry, ledger.service, channel)
    status = StatusService(
        jobs=jobs,
        artifacts_dir=settings.artifacts_dir,
        redis=redis,
        calendar=calendar,
        monitor=monitor,
        ledger=ledger.watch,
    )

    async def warm() -> None:
        if settings.bootstrap and settings.starter:
            models = (*settings.bootstrap_models, *HOURLY_MODELS)
            await asyncio.to_thread(install_starters, registry, models)
        _in_background(ledger.service.run(), stack, "ledger")
        _in_background(ledger.risk.run(), stack, "risk ledger")
        _in_background(keep_observing(jobs, registry, ledger.watch, steady_clock()), stack, "gauges")
        _in_background(
            _start_jobs(jobs, lambda: _begin(settings, jobs, registry, calendar, monitor)), stack, "queue"
        )

    return ServiceApp(servicers=_servicers(settings, jobs, status, registry, ledger), warm=warm)


def _jobs(settings: Settings, redis: Redis) -> JobService:
    return JobService(
        store=RedisJobStore(redis),
        runner=ProcessRunner(child_settings(settings)),
        clock=steady_clock(),
        limits=JobLimits(max_coins=settings.max_coins_per_job),
        max_queued=settings.max_queued_jobs,
        max_running=settings.max_running_jobs,
        max_attempts=settings.max_attempts,
        timeout_seconds=settings.job_timeout_seconds,
        on_ended=metrics.observe_end,
        unavailable_reason=unavailable_reason,
    )


def _calendar(settings: Settings, jobs: JobService, registry: Registry) -> Calendar:
    return Calendar(
        jobs=jobs,
        registry=registry,
        cron=settings.schedule,
        models=settings.schedule_models,
        coins=settings.coins,
        days=settings.days,
    )


def _servicers(
    settings: Settings, jobs: JobService, status: StatusService, registry: Registry, ledger: _Ledger
) -> list[Entry]:
    return [
        Entry(
            training_pb2_grpc.add_TrainingServiceServicer_to_server,
            TrainingServicer(jobs, status),
            f"{PACKAGE}.TrainingService",
        ),
        Entry(
            training_pb2_grpc.add_RegistryServiceServicer_to_server,
            RegistryServicer(registry, keep_versions=settings.keep_versions),
            f"{PACKAGE}.RegistryService",
        ),
        Entry(
            training_pb2_grpc.add_AccuracyServiceServicer_to_server,
            AccuracyServicer(
                ledger.service.store,
                registry,
                ledger.watch,
                ledger.service.calendar,
                risk=ledger.risk.store,
            ),
            f"{PACKAGE}.AccuracyService",
        ),
    ]


async def _begin(
    settings: Settings, jobs: JobService, registry: Registry, calendar: Calendar, monitor: DriftMonitor
) -> None:
    """Start the parts that need the job queue: schedule, first trainings and drift monitor."""
    calendar.start()
    if settings.bootstrap:
        await bootstrap(
            jobs,
            registry,
            models=settings.bootstrap_models,
            coins=settings.coins,
            days=settings.bootstrap_days,
        )
    await monitor.run()


def _monitor(
    settings: Settings, jobs: JobService, registry: Registry, ledger: LedgerService, channel: grpc.aio.Channel
) -> DriftMonitor:
    return DriftMonitor(
        jobs=jobs,
        registry=registry,
        history=MarketDataHistory(channel, vs_currency=settings.vs_currency, attempts=2),
        live=ledger,
        clock=steady_clock(),
        policy=DriftPolicy(
            check_seconds=settings.drift_check_seconds,
            cooldown_seconds=settings.drift_cooldown_seconds,
            budget_per_week=settings.drift_budget_per_week,
            window_days=settings.drift_window_days,
            psi=settings.drift_psi,
            ks=settings.drift_ks,
            bounds=DriftThresholds(
                coverage_points=settings.drift_coverage_points,
                min_forecasts=settings.drift_min_forecasts,
                feature_share=settings.drift_feature_share,
                max_age_days=settings.drift_max_age_days,
            ),
        ),
        models=TRAINED_MODELS,
    )


async def _start_jobs(jobs: JobService, begin: Callable[[], Awaitable[None]]) -> None:
    """Load the job queue, then call `begin`; retry while Redis is unavailable.

    The registry serves meanwhile.
    """
    while True:
        try:
            await jobs.start()
        except Unavailable as error:
            log.warning("queue_not_loaded", reason=error.message)
            await asyncio.sleep(2)
        else:
            return await begin()


def _in_background(work: Coroutine[None, None, None], stack: AsyncExitStack, name: str) -> None:
    """Run a coroutine in the background until the exit stack closes; its failure is logged."""
    tasks = BackgroundTasks("training")
    tasks.start(name, work)
    stack.push_async_callback(tasks.aclose)


@dataclass(frozen=True, slots=True)
class _Ledger:
    service: LedgerService
    risk: RiskLedgerService
    watch: LedgerWatch


def _ledger(settings: Settings, redis: Redis, channel: grpc.aio.Channel) -> _Ledger:
    consumer = LedgerConsumer(redis, settings.ledger_dir, consumer=settings.ledger_consumer)
    store = LedgerStore(settings.ledger_dir)

    def history_in(vs_currency: str) -> MarketDataHistory:
        return MarketDataHistory(
            channel, vs_currency=vs_currency, timeout_seconds=settings.history_timeout_seconds, attempts=2
        )

    calendar = SourceCalendar(history_in(settings.vs_currency), store, steady_clock())
    service = LedgerService(
        consumer=consumer,
        store=store,
        calendar=calendar,
        history_in=history_in,
        live_record_path=settings.artifacts_dir / "live-record.json",
        clock=steady_clock(),
        poll_seconds=settings.ledger_poll_seconds,
        scoring_seconds=settings.scoring_seconds,
    )
    risk = RiskLedgerService(
        redis=redis,
        consumer=settings.ledger_consumer,
        store=RiskStore(settings.ledger_dir / "risk.sqlite"),
        calendar=calendar,
        history_in=history_in,
        record_path=settings.artifacts_dir / LIVE_RISK_FILE,
        clock=steady_clock(),
        poll_seconds=settings.ledger_poll_seconds,
        scoring_seconds=settings.scoring_seconds,
    )
    watch = LedgerWatch(consumer, store, risk_consumer=risk.consumer, risk_store=risk.store)
    return _Ledger(service, risk, watch)


def child_settings(settings: Settings) -> dict[str, object]:
    """Return the settings for a job's process as JSON values.

    The signing key is included in plain text, since the values are passed only through the stdin of the
    process.
    """
    values = settings.model_dump(mode="json")
    if settings.signing_key is not None:
        values["signing_key"] = settings.signing_key.get_secret_value()
    return values
