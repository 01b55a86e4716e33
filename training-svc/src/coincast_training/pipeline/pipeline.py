"""Run a training: fetch the history, tune, fit, measure, write a version, promote it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from threadpoolctl import threadpool_limits

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Conflict, NotReady
from coincast_chassis.observability.error_text import without_path
from coincast_modelkit.artifact import ArtifactError, Record, sweep_temporary
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.hourly.candles import HourlyPanel
from coincast_training.domain import Outcome, TrainingSpec
from coincast_training.executors import Executor, open_executor
from coincast_training.pipeline import dataset
from coincast_training.pipeline.artifact import write_version
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.lineage import Lineage
from coincast_training.pipeline.lock import model_lock
from coincast_training.pipeline.metrics import measure
from coincast_training.pipeline.odd_coins import without_odd_hours
from coincast_training.ports import HistorySource, PastHoursSource
from coincast_training.registry.registry import Registry
from coincast_training.starter.comparison import rerun_starter
from coincast_training.starter.level import correct_starter
from coincast_training.trainers.base import Fit, FittedModel
from coincast_training.trainers.progress import Progress, fetch_reported, part_of

if TYPE_CHECKING:
    from coincast_training.tuning.outcome import Tuning

log = structlog.get_logger(__name__)
MIN_DAYS = 90
# The models with a member that reads hourly candles.
READ_HOURS = frozenset({"ml_ensemble"})
FETCHED, TUNED, FITTED = 0.08, 0.6, 0.92


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Inputs of a run, from its spec or from the lineage that it repeats."""

    ids: tuple[str, ...]
    days: int
    seed: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parent: Lineage | None = None
    reads_hours: bool = False


@dataclass(frozen=True, slots=True)
class FittedRun:
    """A fitted model that is not written yet, and the content of its manifest."""

    plan: RunPlan
    data: TrainingData
    fitted: FittedModel
    record: Record
    tuning: Tuning | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The training pipeline; only one run of a model at a time, across processes.

    After each run the newest `keep_versions` versions and those with an alias remain; 0 removes nothing.
    """

    history: HistorySource
    registry: Registry
    find_fit: Callable[[str], Fit]
    clock: Clock
    seed: int
    work_dir: Path
    executor: str | Executor = "inline"
    keep_versions: int = 0
    market_data: str = "market-data"
    parameters: Callable[[str], Mapping[str, Any]] = lambda _: {}

    async def run(self, spec: TrainingSpec, *, requested_by: str, run_id: str, progress: Progress) -> Outcome:
        """Train, write a version, and promote it if requested and allowed.

        Raises:
            CoincastError: The history is missing or too short, or the version cannot be written.
        """
        run = await self.fit(spec, run_id=run_id, progress=progress)
        return await self.keep(spec, run, requested_by=requested_by, progress=progress)

    async def fit(self, spec: TrainingSpec, *, run_id: str, progress: Progress) -> FittedRun:
        """Fetch, tune, fit and measure; only the study of the tuner is written to disk."""
        fit = self.find_fit(spec.model)
        with model_lock(self.registry.root, spec.model):
            plan = self._plan(spec)
            data = await self._fetch(plan, progress)
            plan, tuning, fitted = await asyncio.to_thread(
                self._tune_and_fit, fit, spec, plan, data, run_id=run_id, progress=progress
            )
        progress(FITTED, "measuring the walk-forward forecasts")
        record = measure(fitted.walk_forward, data.panel, measured_at=self.clock.now())
        return FittedRun(plan, data, fitted, record, tuning)

    async def keep(
        self, spec: TrainingSpec, run: FittedRun, *, requested_by: str, progress: Progress
    ) -> Outcome:
        """Write the version, and promote it if requested and allowed.

        Raises:
            NotReady: The version cannot be written to disk.
        """
        try:
            with model_lock(self.registry.root, spec.model):
                sweep_temporary(self.registry.root, spec.model)
                version = await asyncio.to_thread(self._write, spec, run)
        except OSError as error:
            raise NotReady(f"The version could not be written: {error.strerror or error}.") from error
        progress(0.98, f"wrote {spec.model} {version}")
        promotion, promoted = await asyncio.to_thread(self._promote, spec, run, version, requested_by)
        if spec.promote_if_better and not promoted:
            promotion += await asyncio.to_thread(self._correct_starter, spec.model, run.data)
        if self.keep_versions:
            await asyncio.to_thread(self._clean, spec.model, requested_by)
        progress(1.0, promotion)
        return Outcome(version=version, promoted=promoted, promotion=promotion)

    def _plan(self, spec: TrainingSpec) -> RunPlan:
        if not spec.from_version:
            parameters = dict(self.parameters(spec.model))
            return RunPlan(spec.ids, spec.days, self.seed, parameters, reads_hours=spec.model in READ_HOURS)
        parent = Lineage.of(self.registry, spec.model, spec.from_version)
        reads_hours = spec.model in READ_HOURS
        return RunPlan(parent.coins, 0, parent.seed, parent.parameters, parent, reads_hours=reads_hours)

    async def _fetch(self, plan: RunPlan, progress: Progress) -> TrainingData:
        """Fetch the coins to train on and the reference coins, from the same source as serving."""
        progress(0.0, f"fetching the history of {len(plan.ids)} coins from {self.market_data}")
        wanted = tuple(dict.fromkeys((*plan.ids, *REFERENCE_COINS)))
        async with fetch_reported(self.history, progress):
            history = await self.history.fetch(wanted, plan.days)
        for coin_id, problem in history.problems.items():
            log.warning("coin_left_out", coin_id=coin_id, reason=problem)
        data = dataset.training_data_of(history, plan.ids, MIN_DAYS, keep_odd=plan.parent is not None)
        for coin_id, problem in data.left_out.items():
            log.warning("odd_coin_left_out", coin_id=coin_id, reason=problem)
        if plan.parent is not None:
            data = dataset.same_data(data, plan.parent)
        data = replace(data, hours=await self._fetch_hours(plan, data, wanted, progress))
        progress(FETCHED, f"fetched {sum(map(len, data.panel.values()))} days of {len(data.panel)} coins")
        return data

    async def _fetch_hours(
        self, plan: RunPlan, data: TrainingData, wanted: Sequence[str], progress: Progress
    ) -> HourlyPanel:
        """Return the hours up to the last day; none if the recipe reads none or the source has none."""
        switch = plan.parameters.get("hours", {})
        use = switch.get("use", "auto") if isinstance(switch, Mapping) else switch
        repeats_without = plan.parent is not None and plan.parent.hours is None
        if not plan.reads_hours or use in ("off", False) or repeats_without:
            return {}
        if not isinstance(self.history, PastHoursSource):
            return {}
        last = max(candles.as_of for candles in data.panel.values())
        try:
            async with fetch_reported(self.history, progress):
                found = await self.history.fetch_hours_until(wanted, plan.days, last)
        except CoincastError as error:
            if plan.parent is not None:
                raise
            log.warning("hours_not_fetched", reason=str(error))
            return {}
        sound, _ = without_odd_hours(found.panel)
        return dataset.same_hours(sound, plan.parent) if plan.parent is not None else sound

    def _tune_and_fit(
        self,
        fit: Fit,
        spec: TrainingSpec,
        plan: RunPlan,
        data: TrainingData,
        *,
        run_id: str,
        progress: Progress,
    ) -> tuple[RunPlan, Tuning | None, FittedModel]:
        """Tune if requested, then fit. Both share one executor, since workers take seconds to start."""
        with open_executor(self.executor) as executor:
            tuning = None
            if spec.tune_trials:
                tuning = self._tune(spec, plan, data, executor, run_id=run_id, progress=progress)
                plan = replace(plan, parameters=tuning.parameters)
            progress = part_of(progress, TUNED if tuning else FETCHED, FITTED)
            return plan, tuning, self._fit(fit, spec.model, plan, data, executor=executor, progress=progress)

    def _tune(
        self,
        spec: TrainingSpec,
        plan: RunPlan,
        data: TrainingData,
        executor: Executor,
        *,
        run_id: str,
        progress: Progress,
    ) -> Tuning:
        from coincast_training.tuning.study import tune  # noqa: PLC0415 - optuna is slow to import

        return tune(
            data,
            model=spec.model,
            base=plan.parameters,
            seed=plan.seed,
            trials=spec.tune_trials,
            executor=executor,
            folder=self.work_dir / "tuning" / run_id,
            progress=part_of(progress, FETCHED, TUNED),
        )

    def _fit(
        self,
        fit: Fit,
        model: str,
        plan: RunPlan,
        data: TrainingData,
        *,
        executor: Executor,
        progress: Progress,
    ) -> FittedModel:
        """Fit with one thread of linear algebra, as executors do: the same data give the same bytes."""
        try:
            with threadpool_limits(limits=1):
                return fit(
                    data.panel,
                    plan.parameters,
                    plan.seed,
                    progress=progress,
                    reference=data.reference,
                    executor=executor,
                    **({"hours": data.hours} if data.hours else {}),
                )
        except ValueError as error:
            raise NotReady(f"{model} cannot be trained on this history: {error}") from error

    def _write(self, spec: TrainingSpec, run: FittedRun) -> str:
        return write_version(
            self.registry,
            spec=spec,
            fitted=run.fitted,
            data=run.data,
            record=run.record,
            seed=run.plan.seed,
            parent=run.plan.parent,
            created_at=self.clock.now(),
            tuning=run.tuning.summary() if run.tuning else None,
        )

    def _promote(
        self, spec: TrainingSpec, run: FittedRun, version: str, requested_by: str
    ) -> tuple[str, bool]:
        if not spec.promote_if_better:
            return "Production was not changed: the job did not request a promotion.", False
        try:
            rerun = rerun_starter(self.registry, spec.model, run.data, run.fitted.walk_forward)
            moved = self.registry.promote_if_better(
                spec.model, version, requested_by=requested_by, rerun=rerun
            )
        except (Conflict, NotReady) as error:
            return f"Production was not changed: {error.message}", False
        except CoincastError as error:
            return f"Production could not be changed: {error.message}", False
        return f"Production is now {version}. {moved.verdict}", True

    def _correct_starter(self, model: str, data: TrainingData) -> str:
        """Correct the level of a starter that remains in production; return a sentence about it, or ""."""
        try:
            with model_lock(self.registry.root, model):
                version = correct_starter(self.registry, model, data, created_at=self.clock.now())
        except (CoincastError, ArtifactError, OSError, ValueError) as error:
            log.warning("starter_not_corrected", model=model, reason=without_path(error))
            return ""
        return (
            f" The starter remains in use as {version}, with its widths corrected on these days."
            if version
            else ""
        )

    def _clean(self, model: str, requested_by: str) -> None:
        """Remove old versions, which would fill the disk; a failure is logged and does not fail the job."""
        try:
            removed = self.registry.clean(model, keep=self.keep_versions, requested_by=requested_by)
        except (CoincastError, OSError) as error:
            log.warning("old_versions_not_removed", model=model, reason=without_path(error))
        else:
            if removed:
                log.info("old_versions_removed", model=model, versions=removed)
