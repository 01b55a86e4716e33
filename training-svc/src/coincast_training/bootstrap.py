"""Train the first versions of models, so that a new installation serves forecasts without any command."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import structlog

from coincast_chassis.errors import CoincastError
from coincast_training.domain import Job, JobState, TrainingSpec
from coincast_training.jobs.service import JobService
from coincast_training.registry.registry import Registry

log = structlog.get_logger(__name__)
REQUESTED_BY = "bootstrap"
PAUSES_SECONDS = (2.0, 5.0, 15.0, 60.0, 300.0)


async def bootstrap(
    jobs: JobService,
    registry: Registry,
    *,
    models: Sequence[str],
    coins: Sequence[str],
    days: int,
    pauses_seconds: Sequence[float] = PAUSES_SECONDS,
) -> None:
    """Train one version of each model that has no production version.

    Args:
        jobs: The job service.
        registry: The registry.
        models: Names of the models.
        coins: Coins to train on.
        days: Days of history.
        pauses_seconds: Pauses after failed attempts; their number is that of the attempts.
    """
    missing = [model for model in models if not registry.table(model).production]
    firsts = [
        FirstVersion(
            jobs, registry, TrainingSpec(model=model, ids=tuple(coins), days=days, promote_if_better=True)
        )
        for model in missing
    ]
    await asyncio.gather(*(first.reached(pauses_seconds) for first in firsts))


class FirstVersion:
    """Brings one model to its first production version.

    A failed step is retried; a training that has succeeded is not repeated.
    """

    def __init__(self, jobs: JobService, registry: Registry, spec: TrainingSpec) -> None:
        self._jobs, self._registry, self._spec = jobs, registry, spec
        # If the reply to a submission is lost, a second one with this key returns the same job.
        self._key = _new_key()
        self._trained: Job | None = None

    async def reached(self, pauses_seconds: Sequence[float]) -> None:
        """Wait until a version serves, the job was cancelled, or all attempts have failed."""
        for pause_seconds in pauses_seconds:
            try:
                if await self._step():
                    return
            except CoincastError as error:
                log.warning("bootstrap_refused", model=self._spec.model, reason=error.message)
            await asyncio.sleep(pause_seconds)
        log.error("bootstrap_given_up", model=self._spec.model)

    async def _step(self) -> bool:
        """Make one attempt; return whether no further attempt is needed."""
        if self._trained is None:
            job = await self._ended_job()
            log.info(
                "bootstrap_ended",
                model=self._spec.model,
                state=job.state,
                version=job.version,
                error=job.error,
            )
            if job.state is JobState.CANCELLED:
                return True
            if job.state is not JobState.SUCCEEDED:
                self._key = _new_key()
                return False
            self._trained = job
        if not self._registry.table(self._spec.model).production:
            await asyncio.to_thread(self._serve_anyway, self._trained)
        return True

    async def _ended_job(self) -> Job:
        """Wait for the end of a job, one that is already queued or a new one, and return it."""
        left = [job for job in self._jobs.recent(model=self._spec.model) if not job.state.ended]
        job = (
            left[-1]
            if left
            else await self._jobs.submit(self._spec, requested_by=REQUESTED_BY, idempotency_key=self._key)
        )
        async for seen, _ in self._jobs.watch(job.job_id):
            job = seen
        return job

    def _serve_anyway(self, job: Job) -> None:
        """Promote a first version that the gate refused.

        There is no better version, and every reply shows its record (docs/decisions/0016). The promotion
        expects revision 0, at which no version serves, so it cannot override another choice.
        """
        self._registry.promote(
            job.spec.model,
            job.version,
            expected_revision=0,
            force=True,
            reason=f"The first version of {job.spec.model}: nothing serves yet. {job.promotion}",
            requested_by=REQUESTED_BY,
        )


def _new_key() -> str:
    return f"{REQUESTED_BY}-{uuid.uuid4().hex}"
