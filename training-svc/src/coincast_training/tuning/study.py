"""Run a tuning study: batches of trials, fold by fold, with pruning. Every step is saved to disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from coincast_chassis.errors import NotReady
from coincast_modelkit.artifact import data_window
from coincast_modelkit.splits import Fold
from coincast_training.executors import Executor
from coincast_training.pipeline import losses
from coincast_training.pipeline.code_version import code_version
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import FoldTask, cut, run_fold
from coincast_training.trainers.base import WalkForward
from coincast_training.trainers.params import merged
from coincast_training.trainers.progress import Progress
from coincast_training.tuning.outcome import Tuning
from coincast_training.tuning.space import FOLD_PARAMS, Params, suggested

BATCH = 4
FOLDS, FOLD_DAYS = 3, 60
HORIZONS = (1, 7, 14, 30)
MIN_DAYS = 400


def tune(
    data: TrainingData,
    *,
    model: str,
    base: Mapping[str, Any],
    seed: int,
    trials: int,
    executor: Executor,
    folder: Path,
    progress: Progress,
) -> Tuning:
    """Choose parameters on the earlier half of the history, so that the record remains out of sample.

    After an interruption, a call with the same folder continues the study if data, base, seed and code are
    the same. The result depends neither on interruptions nor on the executor. If no trial is better, the base
    parameters are returned.

    Args:
        data: Candles and reference coins.
        model: Name of the model.
        base: The recipe to improve.
        seed: Seed of the sampler and the fits.
        trials: Number of trials.
        executor: Runs the folds.
        folder: Keeps the state of the study.
        progress: Called with the finished fraction and the stage.

    Raises:
        NotReady: The history is too short.
    """
    data, folds = tuning_folds(data)
    folder.mkdir(parents=True, exist_ok=True)
    study = _open_study(folder / f"{_fingerprint(data, base, seed)}.log", model)
    if "base_value" not in study.user_attrs:
        tasks = [_task(model, dict(base), seed, fold) for fold in folds]
        study.set_user_attr("base_value", float(np.mean(executor.map(score_fold, data, tasks))))
    while (done := len(_ended(study))) < trials:
        _run_batch(
            study,
            min(BATCH, trials - done),
            data,
            folds,
            model=model,
            base=base,
            seed=seed,
            executor=executor,
        )
        progress(len(_ended(study)) / trials, f"tried {len(_ended(study))} of {trials} sets of parameters")
    tuning = _result(study, base, folds)
    (folder / "tuning.json").write_text(json.dumps(tuning.summary() | {"all": tuning.trials}, indent=1))
    from coincast_training.tuning.report import write_report  # noqa: PLC0415 - plotting is slow to import

    write_report(study, tuning, folder / "report.html", model=model)
    return tuning


def tuning_folds(data: TrainingData) -> tuple[TrainingData, list[Fold]]:
    """Return the earlier half of the days, and FOLDS test folds of up to FOLD_DAYS at its end.

    Raises:
        NotReady: The history is too short.
    """
    first = min(candles.dates[0] for candles in data.panel.values())
    last = max(candles.dates[-1] for candles in data.panel.values())
    days = int((last - first).astype(int)) + 1
    if days < MIN_DAYS:
        raise NotReady(
            f"Tuning needs {MIN_DAYS} days of history, since it only uses the earlier half; there are {days}."
        )
    middle = first + np.timedelta64(days // 2 - 1, "D")
    early = TrainingData(cut(data.panel, None, middle), cut(data.reference, None, middle), data.source)
    span = min(FOLD_DAYS, days // 2 // 6)
    folds = []
    for number in range(FOLDS, 0, -1):
        test_from = middle - np.timedelta64(number * span - 1, "D")
        folds.append(
            Fold(
                first,
                test_from - np.timedelta64(31, "D"),
                test_from,
                test_from + np.timedelta64(span - 1, "D"),
            )
        )
    return early, folds


def _fingerprint(data: TrainingData, base: Mapping[str, Any], seed: int) -> str:
    """Return a digest of all inputs that affect a trial; only a study with the same digest continues."""
    parts = [data_window(panel).sha256 for panel in (data.panel, data.reference) if panel]
    inputs = json.dumps([*parts, base, seed, code_version()], sort_keys=True)
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def _open_study(path: Path, model: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(
        storage=storage,
        study_name=model,
        load_if_exists=True,
        direction="minimize",
        pruner=MedianPruner(n_startup_trials=BATCH, n_warmup_steps=0),
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # an earlier process was interrupted in this trial
    return study


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _run_batch(
    study: optuna.Study,
    size: int,
    data: TrainingData,
    folds: list[Fold],
    *,
    model: str,
    base: Mapping[str, Any],
    seed: int,
    executor: Executor,
) -> None:
    """Suggest a batch of trials and run them on the folds; prune trials after each fold.

    The seed of the sampler only depends on the number of ended trials, so that an interrupted study continues
    in the same way.
    """
    ended = len(_ended(study))
    study.sampler = TPESampler(seed=seed * 1000 + ended, n_startup_trials=2 * BATCH, constant_liar=True)
    batch = [study.ask() for _ in range(size)]
    params = {}
    for trial in batch:
        params[trial.number] = suggested(model, trial, base)
        trial.set_user_attr("parameters", params[trial.number])
    values: dict[int, list[float]] = {trial.number: [] for trial in batch}
    alive = list(batch)
    for step, fold in enumerate(folds):
        tasks = [_task(model, params[trial.number], seed, fold) for trial in alive]
        scores = executor.map(score_fold, data, tasks)
        for trial, score in zip(alive, scores, strict=True):
            values[trial.number].append(score)
            trial.report(float(np.mean(values[trial.number])), step)
        alive = [trial for trial in alive if _should_continue(trial, step, len(folds))]
    for trial in batch:
        state = TrialState.COMPLETE if trial in alive else TrialState.PRUNED
        value = float(np.mean(values[trial.number]))
        study.tell(trial, value if state is TrialState.COMPLETE else None, state=state)


def _should_continue(trial: optuna.Trial, step: int, folds: int) -> bool:
    return step == folds - 1 or not trial.should_prune()


def _task(model: str, params: Params, seed: int, fold: Fold) -> FoldTask:
    return FoldTask(model, merged(params, FOLD_PARAMS.get(model, {})), seed, fold, HORIZONS)


def score_fold(data: TrainingData, task: FoldTask) -> float:
    """Fit and forecast one fold, and return the objective."""
    return objective(run_fold(data, task).out_of_sample)


def objective(forecast: WalkForward) -> float:
    """Return the mean over horizons of the mean CRPS divided by the square root of the days.

    The CRPS grows with the root of the horizon, so that the division gives each horizon the same weight.
    """
    loss = losses.crps(forecast)
    horizons = np.unique(forecast.horizons)
    if not len(horizons):
        return float("inf")
    return float(np.mean([loss[forecast.horizons == h].mean() / np.sqrt(h) for h in horizons]))


def _result(study: optuna.Study, base: Mapping[str, Any], folds: list[Fold]) -> Tuning:
    ended = _ended(study)
    complete = [trial for trial in ended if trial.state is TrialState.COMPLETE]
    base_value = float(study.user_attrs["base_value"])
    best = min(complete, key=lambda trial: (trial.value or 0.0, trial.number), default=None)
    won = best is not None and best.value is not None and best.value < base_value
    return Tuning(
        parameters=best.user_attrs["parameters"] if best is not None and won else dict(base),
        best_value=float(best.value) if best is not None and best.value is not None else base_value,
        base_value=base_value,
        trials=tuple(_trial_values(trial) for trial in ended),
        importance=_importance(study, len(complete)),
        window=(str(folds[0].test_from), str(folds[-1].test_to)),
    )


def _trial_values(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "parameters": trial.user_attrs["parameters"],
    }


def _importance(study: optuna.Study, complete: int) -> dict[str, float]:
    """Return the share of the variation that each parameter explains; empty if there are too few trials."""
    if complete < BATCH:
        return {}
    try:
        found = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):
        return {}
    return {name: float(value) for name, value in found.items()}
