"""Keeps the gauges current that no event moves: queue, ages of versions, lag of the ledger."""

from __future__ import annotations

import asyncio

import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_training import metrics
from coincast_training.domain import MODELS, JobState
from coincast_training.jobs.service import JobService
from coincast_training.registry.registry import Registry
from coincast_training.scoring.lag import LedgerWatch

log = structlog.get_logger(__name__)
EVERY_SECONDS = 15.0


async def keep_observing(jobs: JobService, registry: Registry, watch: LedgerWatch, clock: Clock) -> None:
    """Until it is cancelled."""
    while True:
        observe_queue(jobs)
        try:
            await asyncio.to_thread(observe_ages, registry, clock.now())
            await watch.status()
        except (CoincastError, OSError) as error:
            log.warning("gauges_not_current", reason=str(error))
        await asyncio.sleep(EVERY_SECONDS)


def observe_queue(jobs: JobService) -> None:
    """How many jobs wait and run, and when each model last succeeded."""
    metrics.QUEUED.set(jobs.count(JobState.QUEUED))
    metrics.RUNNING.set(jobs.count(JobState.RUNNING))
    for job in reversed(jobs.recent(limit=500)):
        if job.state is JobState.SUCCEEDED and job.finished_at is not None:
            metrics.LAST_SUCCESS.labels(job.spec.model).set(job.finished_at)


def observe_ages(registry: Registry, now: float) -> None:
    """The age of every version that an alias names."""
    metrics.ARTIFACT_AGE.clear()
    for model in MODELS:
        for alias, version in registry.table(model).named().items():
            age_seconds = now - registry.versions.get(model, version).created_at
            metrics.ARTIFACT_AGE.labels(model, alias).set(age_seconds)
