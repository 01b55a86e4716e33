"""Schedule trainings by a cron expression, weekly by default.

The times follow a steady clock: if the clock of the machine is set, no training is skipped or repeated.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

import structlog
from apscheduler.triggers.cron import CronTrigger

from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_training.domain import TrainingSpec
from coincast_training.jobs.service import JobService
from coincast_training.registry.registry import Registry
from coincast_training.trainers.registry import trainable_models

log = structlog.get_logger(__name__)
REQUESTED_BY = "schedule"
LATE_SECONDS = 3600
# Longest pause between two checks of the time, so that a suspended machine notices the time soon after it
# wakes.
CHECK_SECONDS = 15.0


class Calendar:
    """Submit one job for each model at the times of the cron expression (UTC)."""

    def __init__(
        self,
        *,
        jobs: JobService,
        registry: Registry,
        cron: str,
        models: Sequence[str],
        coins: Sequence[str],
        days: int,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or steady_clock()
        self._jobs, self._registry = jobs, registry
        self._models, self._coins, self._days = tuple(models), tuple(coins), days
        self._trigger = _trigger(cron) if cron else None
        self._next: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the schedule."""
        self._next = self._following(self._clock.now())
        if self._next is not None and self._task is None:
            self._task = asyncio.create_task(self._run(), name="schedule")

    def stop(self) -> None:
        """Cancel the schedule."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._next = None

    def next_run_at(self) -> float | None:
        """Return the UNIX time of the next training; None if none is scheduled."""
        return self._next

    async def _run(self) -> None:
        while self._next is not None:
            await asyncio.sleep(min(CHECK_SECONDS, max(0.05, self._next - self._clock.now())))
            try:
                await self.check()
            except Exception:
                # An error of one scheduled training must not stop later ones.
                log.exception("schedule_failed")

    async def check(self) -> list[str]:
        """Submit the jobs if their time has passed; return the ids of the submitted jobs.

        A time that passed more than LATE_SECONDS ago, while the machine was suspended, is skipped.
        """
        now, due = self._clock.now(), self._next
        if due is None or now < due:
            return []
        self._next = self._following(now)
        if now - due > LATE_SECONDS:
            log.warning("schedule_missed", late_seconds=round(now - due))
            return []
        return await self.fire()

    def _following(self, now: float) -> float | None:
        """Return the first scheduled time after `now`; None if there is none."""
        if self._trigger is None:
            return None
        moment = dt.datetime.fromtimestamp(now, dt.UTC) + dt.timedelta(seconds=1)
        found = self._trigger.get_next_fire_time(None, moment)
        return None if found is None else found.timestamp()

    async def fire(self) -> list[str]:
        """Submit the jobs and return their ids.

        Each model is trained on the coins of its production version, so that a manual choice of coins
        remains.
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
