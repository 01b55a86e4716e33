"""Walk forward in a backtest: refit, forecast until the next refit, repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coincast_chassis.errors import NotReady
from coincast_modelkit.artifact import Record
from coincast_modelkit.splits import Fold, walk_forward
from coincast_training.backtest.strategy import Costs, Curve, run_strategies
from coincast_training.executors import Executor
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import FoldTask, joined, run_fold
from coincast_training.pipeline.metrics import measure
from coincast_training.trainers.base import WalkForward
from coincast_training.trainers.params import merged
from coincast_training.trainers.progress import Progress
from coincast_training.tuning.space import FOLD_PARAMS

LEAST_TRAINING_DAYS = 180


@dataclass(frozen=True, slots=True)
class BacktestOptions:
    """Options of a backtest: model, walk-forward and trading costs."""

    model: str
    seed: int = 7
    refit_days: int = 60
    test_days: int = 365
    rolling_days: int | None = None
    horizons: tuple[int, ...] = (1, 7, 14, 30)
    params: Mapping[str, Any] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)


@dataclass(frozen=True, slots=True)
class Backtest:
    """Results of a backtest."""

    options: BacktestOptions
    folds: tuple[Fold, ...]
    out_of_sample: WalkForward
    record: Record
    in_sample_record: Record
    curves: tuple[Curve, ...]
    fit_seconds: float
    predict_seconds: float

    def decay(self) -> list[dict[str, float | int | None]]:
        """Return the skill in sample and out of sample by horizon; the gap measures overfitting."""
        inside = {h.horizon_days: h for h in self.in_sample_record.horizons}
        rows: list[dict[str, float | int | None]] = []
        for h in self.record.horizons:
            before = inside.get(h.horizon_days)
            seen = before.crps_skill_percent if before else None
            gap = (
                seen - h.crps_skill_percent if seen is not None and h.crps_skill_percent is not None else None
            )
            rows.append(
                {
                    "horizon_days": h.horizon_days,
                    "in_sample_crps_skill_percent": seen,
                    "out_of_sample_crps_skill_percent": h.crps_skill_percent,
                    "decay_points": gap,
                }
            )
        return rows


def run_backtest(
    data: TrainingData, options: BacktestOptions, executor: Executor, progress: Progress
) -> Backtest:
    """Walk forward over the last `test_days`.

    Args:
        data: Candles and reference coins.
        options: Model, parameters, test days and refit interval.
        executor: Runs the folds.
        progress: Called with the completed share and the stage.

    Raises:
        NotReady: Too little history precedes the test days.
    """
    folds = folds_of(data, options)
    params = merged(options.params, FOLD_PARAMS.get(options.model, {}))
    tasks = [
        FoldTask(
            options.model, params, options.seed, fold, options.horizons, in_sample_days=options.refit_days
        )
        for fold in folds
    ]

    def on_done(done: int) -> None:
        progress(0.95 * done / len(tasks), f"finished {done} of {len(tasks)} refits")

    progress(0.0, f"walk-forward with {len(tasks)} refits")
    results = executor.map(run_fold, data, tasks, on_done=on_done)
    out_of_sample = joined([result.out_of_sample for result in results])
    in_sample = joined([result.in_sample for result in results])
    return Backtest(
        options=options,
        folds=tuple(folds),
        out_of_sample=out_of_sample,
        record=measure(out_of_sample, data.panel, measured_at=0.0),
        in_sample_record=measure(in_sample, data.panel, measured_at=0.0),
        curves=run_strategies(out_of_sample, options.costs),
        fit_seconds=sum(result.fit_seconds for result in results),
        predict_seconds=sum(result.predict_seconds for result in results),
    )


def folds_of(data: TrainingData, options: BacktestOptions) -> list[Fold]:
    """Return one fold for each refit; the last test origin is the day before the last close.

    Args:
        data: Candles and reference coins.
        options: Test days and refit interval.

    Raises:
        NotReady: Too little history precedes the test days.
    """
    first = min(candles.dates[0] for candles in data.panel.values())
    last = max(candles.dates[-1] for candles in data.panel.values())
    begin = last - np.timedelta64(options.test_days, "D")
    if begin - np.timedelta64(LEAST_TRAINING_DAYS, "D") < first:
        have = int((last - first).astype(int)) + 1
        raise NotReady(
            f"A backtest over {options.test_days} days needs {options.test_days + LEAST_TRAINING_DAYS + 1} "
            f"days of history; there are {have}.",
            field="days",
        )
    return list(
        walk_forward(
            first,
            begin,
            last - np.timedelta64(1, "D"),
            step_days=options.refit_days,
            embargo_days=max(options.horizons),
            rolling_days=options.rolling_days,
        )
    )
