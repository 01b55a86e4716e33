"""Trains first models where none exist, so that a fresh machine comes to serve by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from coincast_chassis.errors import CoincastError
from coincast_training.domain import Job, JobState, TrainingSpec
from coincast_training.jobs.service import JobService
from coincast_training.registry.registry import Registry

log = structlog.get_logger(__name__)
REQUESTED_BY = "bootstrap"
PAUSES_SECONDS = (2, 5, 15, 60, 300)


async def bootstrap(
    jobs: JobService, registry: Registry, *, models: Sequence[str], coins: Sequence[str], days: int
) -> None:
    """Submits one job for each model without a production version; what fails is tried again, ever more
    rarely.
    """
    missing = [model for model in models if not registry.table(model).production]
    await asyncio.gather(*(_first_version(jobs, registry, model, tuple(coins), days) for model in missing))


async def _first_version(
    jobs: JobService, registry: Registry, model: str, coins: tuple[str, ...], days: int
) -> None:
    spec = TrainingSpec(model=model, ids=coins, days=days, promote_if_better=True)
    for pause_seconds in PAUSES_SECONDS:
        try:
            ended = await _run(jobs, spec)
            if ended.state is JobState.SUCCEEDED and not registry.table(model).production:
                await asyncio.to_thread(_serve_anyway, registry, model, ended)
        except CoincastError as error:
            log.warning("bootstrap_refused", model=model, reason=error.message)
        else:
            if ended.state is JobState.CANCELLED or registry.table(model).production:
                return
        await asyncio.sleep(pause_seconds)
    log.error("bootstrap_given_up", model=model)


def _serve_anyway(registry: Registry, model: str, job: Job) -> None:
    """A first version that the gate refuses still serves, with its record in every reply: there is no
    better one.

    Asked at a revision at which nothing serves, so that nobody's choice is overruled.
    """
    registry.promote(
        model,
        job.version,
        expected_revision=0,
        force=True,
        reason=f"The first version of {model}: nothing serves yet. {job.promotion}",
        requested_by=REQUESTED_BY,
    )


async def _run(jobs: JobService, spec: TrainingSpec) -> Job:
    """The job once it has ended: one that an earlier life left in the queue, or a new one."""
    left = [job for job in jobs.recent(model=spec.model) if not job.state.ended]
    job = left[-1] if left else await jobs.submit(spec, requested_by=REQUESTED_BY)
    async for seen, _ in jobs.watch(job.job_id):
        job = seen
    log.info("bootstrap_ended", model=spec.model, state=job.state, version=job.version, error=job.error)
    return job
