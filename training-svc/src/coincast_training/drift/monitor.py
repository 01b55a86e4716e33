"""Check for drift periodically; after drift submit a training, with its reasons and within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.error_text import without_path
from coincast_modelkit.artifact import HorizonRecord, Manifest
from coincast_modelkit.features import REFERENCE_COINS, spec_of
from coincast_modelkit.hourly.candles import HOURS_A_DAY
from coincast_training import metrics
from coincast_training.domain import HOURLY_MODELS, TrainingSpec
from coincast_training.drift.assessment import CHECKS, Drift, DriftThresholds, FeatureDrift, assess_drift
from coincast_training.drift.feature_drift import feature_drift, hourly_feature_drift
from coincast_training.hourly.walk import MIN_DAYS
from coincast_training.jobs.service import JobService
from coincast_training.ports import CandleSource
from coincast_training.registry.registry import Registry

log = structlog.get_logger(__name__)
REQUESTED_BY = "drift"
WEEK_SECONDS = 7 * 86400
FEATURE_DAYS = 1500
# Contains a dozen earlier spans of a month. It is shorter than FEATURE_DAYS because a day has 24 hourly rows.
HOURLY_FEATURE_DAYS = 540


class LiveRecords(Protocol):
    """The scored forecasts of served versions."""

    def live_of(self, model: str, version: str, days: int) -> list[HorizonRecord]:
        """Return the live record of a version over the last `days`, by horizon."""
        ...


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """Interval of the checks, limits on trainings, and bounds of the drift."""

    check_seconds: float = 3600
    cooldown_seconds: float = 86400
    budget_per_week: int = 3
    window_days: int = 30
    psi: float = 0.25
    ks: float = 0.25
    bounds: DriftThresholds = field(default_factory=DriftThresholds)


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """Result of the last check of a model, and the action taken."""

    model: str
    drift: Drift
    checked_at: float
    action: str


class DriftMonitor:
    """Checks every model periodically; `last` holds the latest results."""

    def __init__(
        self,
        *,
        jobs: JobService,
        registry: Registry,
        history: CandleSource,
        live: LiveRecords,
        clock: Clock,
        policy: DriftPolicy,
        models: Sequence[str],
    ) -> None:
        self._jobs, self._registry, self._history, self._live = jobs, registry, history, live
        self._clock, self._policy, self._models = clock, policy, tuple(models)
        self.last: dict[str, DriftCheck] = {}

    async def run(self) -> None:
        """Check periodically until cancelled; a failed check is repeated in the next period."""
        while True:
            for model in self._models:
                try:
                    await self.check(model)
                except (CoincastError, OSError, ValueError) as error:
                    log.warning("drift_not_checked", model=model, reason=without_path(error))
                except Exception:
                    log.exception("drift_not_checked", model=model)
            await asyncio.sleep(self._policy.check_seconds)

    async def check(self, model: str) -> DriftCheck | None:
        """Check the production version and submit a training if it drifted.

        Returns:
            The result, or None if no version is in production.
        """
        version = self._registry.table(model).production
        if not version:
            return None
        manifest, _ = await asyncio.to_thread(self._registry.versions.manifest, model, version)
        drift = assess_drift(
            live=await asyncio.to_thread(self._live.live_of, model, version, self._policy.window_days),
            features=await self._features(manifest),
            age_days=(self._clock.now() - manifest.created_at) / 86400,
            bounds=self._policy.bounds,
        )
        self._observe(model, drift)
        action = await self._act(model, manifest, drift) if drift.drifted else "nothing to do"
        self.last[model] = DriftCheck(model, drift, self._clock.now(), action)
        return self.last[model]

    async def _features(self, manifest: Manifest) -> FeatureDrift | None:
        wanted = tuple(dict.fromkeys((*manifest.coins, *REFERENCE_COINS)))
        if manifest.model in HOURLY_MODELS:
            return await self._hourly_features(manifest, wanted)
        try:
            history = await self._history.fetch(wanted, FEATURE_DAYS)
        except CoincastError as error:
            log.warning("features_not_checked", model=manifest.model, reason=error.message)
            return None
        panel = {coin_id: candles for coin_id, candles in history.panel.items() if coin_id in manifest.coins}
        if not panel:
            return None
        return await asyncio.to_thread(
            feature_drift,
            panel,
            {coin_id: candles for coin_id, candles in history.panel.items() if coin_id in REFERENCE_COINS},
            spec_of(manifest.feature_names),
            learnt_to=np.datetime64(manifest.data.to_date, "D"),
            days=self._policy.window_days,
            psi=self._policy.psi,
            ks=self._policy.ks,
        )

    async def _hourly_features(self, manifest: Manifest, ids: Sequence[str]) -> FeatureDrift | None:
        try:
            history = await self._history.fetch_hourly(ids, HOURLY_FEATURE_DAYS)
        except CoincastError as error:
            log.warning("features_not_checked", model=manifest.model, reason=error.message)
            return None
        if not history.panel:
            return None
        return await asyncio.to_thread(
            hourly_feature_drift,
            history.panel,
            learnt_to=np.datetime64(manifest.data.to_date, "D"),
            days=self._policy.window_days,
            psi=self._policy.psi,
            ks=self._policy.ks,
        )

    def _observe(self, model: str, drift: Drift) -> None:
        metrics.DRIFTED.labels(model).set(drift.drifted)
        for check in CHECKS:
            if check in drift.scores:
                metrics.DRIFT_SCORE.labels(model, check).set(drift.scores[check])
            else:  # Without data, remove the score of an earlier check.
                metrics.DRIFT_SCORE.remove(model, check)

    async def _act(self, model: str, manifest: Manifest, drift: Drift) -> str:
        """Submit a training, unless one is queued, the last was too recent, or the budget is used up."""
        if refusal := self._refusal_reason(model) or await self._missing_hours(manifest):
            log.info("drift_not_acted_on", model=model, reason=refusal)
            return refusal
        spec = TrainingSpec(model=model, ids=manifest.coins, promote_if_better=True)
        job = await self._jobs.submit(spec, requested_by=REQUESTED_BY, reason=" ".join(drift.reasons))
        log.info("drift_training", model=model, job_id=job.job_id, reasons=drift.reasons)
        return f"submitted job {job.job_id}"

    async def _missing_hours(self, manifest: Manifest) -> str:
        """Return why the hourly model cannot be trained on the source's hours; empty if it can.

        A free plan gives 90 days of hours, from which every training would fail.
        """
        if manifest.model not in HOURLY_MODELS:
            return ""
        try:
            panel = (await self._history.fetch_hourly(manifest.coins, MIN_DAYS + 2)).panel
        except CoincastError as error:
            return f"the hourly history cannot be read: {error.message}"
        days = max((len(candles) for candles in panel.values()), default=0) // HOURS_A_DAY
        if days >= MIN_DAYS:
            return ""
        return f"the source has {days} days of hours and a training needs {MIN_DAYS}"

    def _refusal_reason(self, model: str) -> str:
        recent = self._jobs.recent(model=model, limit=500)
        if any(not job.state.ended for job in recent):
            return "a training of the model waits or runs already"
        submitted = [job.submitted_at for job in recent if job.requested_by == REQUESTED_BY]
        # The absolute age: a job with a time in the future, from a wrong clock, must not block trainings.
        ages = [abs(self._clock.now() - at) for at in submitted]
        if ages and min(ages) < self._policy.cooldown_seconds:
            return "the cooldown since the last drift training has not passed"
        if sum(age < WEEK_SECONDS for age in ages) >= self._policy.budget_per_week:
            return "the week's budget of drift trainings is used up"
        return ""
