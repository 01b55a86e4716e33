"""A run from history to a version: fetch, tune, fit, measure, write, promote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Conflict, NotReady
from coincast_modelkit.candles import Panel

from coincast_training.domain import Outcome, TrainingSpec
from coincast_training.fitting.base import Fit, FittedModel, Progress
from coincast_training.ports import History, HistorySource
from coincast_training.registry.registry import Registry
from coincast_training.training import data
from coincast_training.training.artifact import Lineage, write_version
from coincast_training.training.lock import model_lock
from coincast_training.training.record import measure

log = structlog.get_logger(__name__)
MIN_DAYS = 90
FETCHED, TUNED, FITTED = 0.08, 0.5, 0.92


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run stands on once its spec, or the lineage it repeats, has been resolved."""

    ids: tuple[str, ...]
    days: int
    seed: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parent: Lineage | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that a run needs; one run a model at a time, whoever starts it."""

    history: HistorySource
    registry: Registry
    find_fit: Callable[[str], Fit]
    clock: Clock
    seed: int
    work_dir: Path

    async def run(
        self, spec: TrainingSpec, *, requested_by: str, run_id: str, progress: Progress
    ) -> Outcome:
        """Trains, writes a version and moves production where asked and allowed. Raises `CoincastError`."""
        fit = self.find_fit(spec.model)
        with model_lock(self.registry.root, spec.model):
            plan = self._plan(spec)
            panel, history = await self._fetch(spec, plan, progress)
            fitted = await asyncio.to_thread(self._fit, fit, spec, plan, panel, progress, run_id)
            progress(FITTED, "measures the walk-forward forecasts")
            record = measure(fitted.walk_forward, panel, measured_at=self.clock.now())
            version = await asyncio.to_thread(
                write_version,
                self.registry,
                spec=spec,
                fitted=fitted,
                panel=panel,
                record=record,
                seed=plan.seed,
                source=history.source,
                parent=plan.parent,
                created_at=self.clock.now(),
            )
        progress(0.98, f"wrote {spec.model} {version}")
        promotion, promoted = self._promote(spec, version, requested_by)
        progress(1.0, promotion)
        return Outcome(version=version, promoted=promoted, promotion=promotion)

    def _plan(self, spec: TrainingSpec) -> Plan:
        if not spec.from_version:
            return Plan(ids=spec.ids, days=spec.days, seed=self.seed)
        parent = Lineage.of(self.registry, spec.model, spec.from_version)
        return Plan(
            ids=parent.coins, days=0, seed=parent.seed, parameters=parent.parameters, parent=parent
        )

    async def _fetch(self, spec: TrainingSpec, plan: Plan, progress: Progress) -> tuple[Panel, History]:
        progress(0.0, f"fetches the history of {len(plan.ids)} coins")
        history = await self.history.fetch(plan.ids, plan.days)
        for coin_id, problem in history.problems.items():
            log.warning("coin_left_out", coin_id=coin_id, reason=problem)
        panel = data.usable(history, plan.ids, MIN_DAYS)
        if plan.parent is not None:
            panel = _same_data(panel, plan.parent)
        progress(FETCHED, f"has {sum(map(len, panel.values()))} days of {len(panel)} coins")
        return panel, history

    def _fit(
        self, fit: Fit, spec: TrainingSpec, plan: Plan, panel: Panel, progress: Progress, run_id: str
    ) -> FittedModel:
        start = FETCHED
        parameters = plan.parameters

        def inner(fraction: float, stage: str) -> None:
            progress(start + (FITTED - start) * fraction, stage)

        try:
            return fit(panel, parameters, plan.seed, progress=inner)
        except ValueError as error:
            raise NotReady(f"{spec.model} cannot be trained on this history: {error}") from error

    def _promote(self, spec: TrainingSpec, version: str, requested_by: str) -> tuple[str, bool]:
        if not spec.promote_if_better:
            return "Production was not moved: the job did not ask for it.", False
        try:
            moved = self.registry.promote_if_better(spec.model, version, requested_by=requested_by)
        except (Conflict, NotReady) as error:
            return f"Production was not moved: {error.message}", False
        except CoincastError as error:
            return f"Production could not be moved: {error.message}", False
        return f"Production is {version} now. {moved.verdict}", True


def _same_data(panel: Panel, parent: Lineage) -> Panel:
    """The parent's data again, bit for bit. Raises `NotReady` where the history has changed since."""
    panel = data.same_window(panel, parent.from_date, parent.to_date)
    found = data.panel_hash(panel)
    if found != parent.data_hash:
        raise NotReady(
            f"The history of {parent.from_date} to {parent.to_date} is not what {parent.version} was trained on "
            f"(data hash {found[:12]}, then {parent.data_hash[:12]}), so its files cannot be repeated; train anew.",
            field="from_version",
        )
    return panel
