"""Schedule trainings by a cron expression, weekly by default."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_training.domain import TrainingSpec
from coincast_training.jobs.service import JobService
from coincast_training.registry.registry import Registry
from coincast_training.trainers.registry import trainable_models

log = structlog.get_logger(__name__)
REQUESTED_BY = "schedule"
LATE_SECONDS = 3600


class Calendar:
    """Submit one job for each model whenever the cron expression fires (UTC)."""

    def __init__(
        self,
        *,
        jobs: JobService,
        registry: Registry,
        cron: str,
        models: Sequence[str],
        coins: Sequence[str],
        days: int,
    ) -> None:
        self._jobs, self._registry = jobs, registry
        self._models, self._coins, self._days = tuple(models), tuple(coins), days
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        if cron:
            self._scheduler.add_job(
                self.fire, _trigger(cron), misfire_grace_time=LATE_SECONDS, coalesce=True, max_instances=1
            )

    def start(self) -> None:
        """Start waiting for the next time."""
        self._scheduler.start()

    def stop(self) -> None:
        """Cancel the schedule."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def next_run_at(self) -> float | None:
        """Return the UNIX time of the next training; None if none is scheduled."""
        times = [
            job.next_run_time for job in self._scheduler.get_jobs() if getattr(job, "next_run_time", None)
        ]
        return min(time.timestamp() for time in times) if times else None

    async def fire(self) -> list[str]:
        """Submit the jobs and return their ids.

        The coins are those of production, so that a manual choice of coins persists.
        """
        submitted = []
        for model in self._models:
            if model not in trainable_models():
                continue
            spec = TrainingSpec(
                model=model, ids=self._coins_of(model), days=self._days, promote_if_better=True
            )
            try:
                job = await self._jobs.submit(spec, requested_by=REQUESTED_BY, reason="Scheduled training.")
            except CoincastError as error:
                log.warning("schedule_refused", model=model, reason=error.message)
            else:
                submitted.append(job.job_id)
        return submitted

    def _coins_of(self, model: str) -> tuple[str, ...]:
        version = self._registry.table(model).production
        if not version:
            return self._coins
        try:
            return self._registry.versions.get(model, version).coins
        except CoincastError:
            return self._coins


def _trigger(cron: str) -> CronTrigger:
    try:
        return CronTrigger.from_crontab(cron, timezone="UTC")
    except ValueError as error:
        raise InvalidInput(
            f"TRAINING_SCHEDULE must be a cron expression like '0 3 * * 0', or empty: {error}.",
            field="schedule",
        ) from error
