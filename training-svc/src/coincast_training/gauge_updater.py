"""Update periodically the gauges of queue length, ages of versions and lag of the ledger.

No event of the service changes them.
"""

from __future__ import annotations

import asyncio

import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.error_text import without_path
from coincast_training import metrics
from coincast_training.domain import TRAINED_MODELS, JobState
from coincast_training.jobs.service import JobService
from coincast_training.registry.registry import Registry
from coincast_training.scoring.lag import LedgerWatch

log = structlog.get_logger(__name__)
EVERY_SECONDS = 15.0


async def keep_observing(jobs: JobService, registry: Registry, watch: LedgerWatch, clock: Clock) -> None:
    """Update the gauges periodically until cancelled."""
    while True:
        observe_queue(jobs)
        try:
            await asyncio.to_thread(observe_ages, registry, clock.now())
            await watch.status()
        except (CoincastError, OSError) as error:
            log.warning("gauges_not_current", reason=without_path(error))
        except Exception:
            # The gauges of later rounds must not depend on what is on the disk in this one.
            log.exception("gauges_not_current")
        await asyncio.sleep(EVERY_SECONDS)


def observe_queue(jobs: JobService) -> None:
    """Set the gauges of queued and running jobs, and of the last success of each model."""
    metrics.QUEUED.set(jobs.count(JobState.QUEUED))
    metrics.RUNNING.set(jobs.count(JobState.RUNNING))
    for job in reversed(jobs.recent(limit=500)):
        if job.state is JobState.SUCCEEDED and job.finished_at is not None:
            metrics.LAST_SUCCESS.labels(job.spec.model).set(job.finished_at)


def observe_ages(registry: Registry, now: float) -> None:
    """Set the age gauge of each version that has an alias."""
    metrics.ARTIFACT_AGE.clear()
    for model in TRAINED_MODELS:
        for alias, version in registry.table(model).named().items():
            age_seconds = now - registry.versions.get(model, version).created_at
            metrics.ARTIFACT_AGE.labels(model, alias).set(age_seconds)
