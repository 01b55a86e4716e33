"""Walk a recipe forward: fit all windows, then correct each fold by the outputs of earlier folds.

The fits are independent and may run in workers. The corrections depend on each other and are computed here.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.models.distributions import LocationScale
from coincast_modelkit.splits import Fold, walk_forward
from coincast_training.executors import Executor
from coincast_training.trainers.base import WalkForward
from coincast_training.trainers.calibration import Calibration
from coincast_training.trainers.oos_corrections import Corrections, Outputs
from coincast_training.trainers.params import WalkParams
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.time_window import Window
from coincast_training.trainers.training_table import Rows

RECORD_HORIZONS = (1, 3, 7, 14, 30)
DAY = np.timedelta64(1, "D")
MIN_STEP_DAYS = 7


class Fitted(Protocol):
    """A recipe fitted on a window, without corrections."""

    def outputs(self, rows: Rows, at: np.ndarray) -> Outputs:
        """Return the uncorrected outputs on the rows `at`."""
        ...


F = TypeVar("F", bound=Fitted)
F_co = TypeVar("F_co", bound=Fitted, covariant=True)


class Recipe(Protocol[F_co]):
    """A recipe that fits any window of one table, in this process or in a worker."""

    @property
    def rows(self) -> Rows:
        """Return the table."""
        ...

    def fit(self, window: Window) -> tuple[F_co, Outputs]:
        """Fit a window; return the fit, and outputs on its later block, which only correct the first fold."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Walked(Generic[F]):
    """A recipe fitted on all days, the corrections of its walk, and the walk-forward forecasts."""

    fitted: F
    later: Outputs
    known: Calibration
    record: WalkForward


Store = MutableMapping[tuple[Any, ...], Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Part(Generic[F]):
    """The result of one window: outputs on the test days of a fold, or the fit on all days."""

    fitted: F | None
    outputs: Outputs | None
    later: Outputs


def folds_of(rows: Rows, params: WalkParams) -> list[Fold]:
    """Return the folds of a table, counted back from its last day.

    They lie in the later half of the days, or from `first_test` on. Days before the first whole fold are not
    tested.
    """
    first, last = rows.origins.min(), rows.origins.max()
    days = (last - first).astype(int) + 1
    begin = first + np.timedelta64(max(days // 2, min(days * 7 // 10, 120)), "D")
    if params.first_test is not None:
        begin = np.datetime64(params.first_test, "D")
    span = int((last - begin).astype(int))
    step = min(params.step_days, max(MIN_STEP_DAYS, span // params.folds))
    if span < step:
        return []
    return list(
        walk_forward(
            first,
            last - np.timedelta64(span // step * step, "D") + DAY,
            last,
            step_days=step,
            embargo_days=max(params.anchors),
            rolling_days=params.rolling_days,
        )
    )


def walk(
    recipe: Recipe[F],
    params: WalkParams,
    *,
    executor: Executor,
    progress: Progress,
    store: Store | None = None,
) -> Walked[F]:
    """Fit on all days and, with `walk_forward`, on every fold.

    Args:
        recipe: Fits the windows.
        params: Horizons and test days.
        executor: Runs the fits.
        progress: Called with the finished fraction and a text.
        store: Results of windows, shared between calls on longer and longer cuts of one panel. A window does
            not depend on later days, so later calls fit only the windows that are new and give the same
            result, except for rounding.
    """
    rows = recipe.rows
    folds = folds_of(rows, params) if params.walk_forward else []
    whole = Window(rows.origins.min(), rows.origins.max())
    tasks = [*((_window_of(fold), fold) for fold in folds), (whole, None)]
    kept = {} if store is None else store
    parts = _parts(recipe, params, tasks, store=kept, executor=executor, progress=progress)
    known = Calibration(rows, params.anchors, params.mean_anchors)
    quantiles = []
    for (window, _), part in zip(tasks, parts, strict=True):
        if part.outputs is not None:
            corrections = known.add(part.outputs, part.later, window.last_close)
            quantiles.append(quantiles_of(rows, part.outputs, corrections, params))
    fitted, later = parts[-1].fitted, parts[-1].later
    assert fitted is not None  # noqa: S101 - the last task is the one without a fold
    return Walked(fitted, later, known, _joined(rows, [s.at for s in known.seen], quantiles))


def _parts(
    recipe: Recipe[F],
    params: WalkParams,
    tasks: Sequence[tuple[Window, Fold | None]],
    *,
    store: Store,
    executor: Executor,
    progress: Progress,
) -> list[_Part[F]]:
    """Return the results of all windows in the order of the tasks, from the store or from new fits."""
    rows = recipe.rows
    # Folds of another length have other test days.
    lengths = {fold.test_to - fold.test_from for _, fold in tasks if fold is not None}
    keys = [(params, rows.spec, *lengths, window) for window, _ in tasks]
    missing = [(key, task) for key, task in zip(keys, tasks, strict=True) if key not in store]

    def on_done(done: int) -> None:
        progress(done / len(missing), f"fitted {done} of {len(missing)} windows")

    # The longest window is fitted first: if it started last, it would delay the end.
    missing.reverse()
    found = executor.map(_fit_part, recipe, [task for _, task in missing], on_done=on_done)
    store.update((key, (rows, part)) for (key, _), part in zip(missing, found, strict=True))
    parts = []
    for key, (_, fold) in zip(keys, tasks, strict=True):
        known, part = store[key]
        parts.append(_tested(_moved(part, known, rows), rows, fold))
        store[key] = rows, parts[-1]
    return parts


def _window_of(fold: Fold) -> Window:
    """Return the training window of a fold, whose targets end before the first test day; see Fold."""
    return Window(fold.train_from, fold.test_from - DAY)


def _fit_part(recipe: Recipe[F], task: tuple[Window, Fold | None]) -> _Part[F]:
    """Fit one window; return the fit on all days, but only the outputs of a fold."""
    window, fold = task
    fitted, later = recipe.fit(window)
    return _tested(_Part(fitted, None, later), recipe.rows, fold)


def _tested(part: _Part[F], rows: Rows, fold: Fold | None) -> _Part[F]:
    """Replace the fit by its outputs on the test days of a fold, if there is a fold."""
    if fold is None or part.fitted is None:
        return part
    return _Part(None, part.fitted.outputs(rows, np.flatnonzero(fold.test_mask(rows.origins))), part.later)


def _moved(part: _Part[F], old: Rows, rows: Rows) -> _Part[F]:
    """Return a part of the table `old` with the positions of the same coins and days in `rows`."""
    if old is rows:
        return part
    outputs = None if part.outputs is None else replace(part.outputs, at=rows.positions(old, part.outputs.at))
    return _Part(part.fitted, outputs, replace(part.later, at=rows.positions(old, part.later.at)))


def quantiles_of(rows: Rows, outputs: Outputs, corrections: Corrections, params: WalkParams) -> Floats:
    """Return log-return quantiles (m, H, Q) at RECORD_HORIZONS, from the outputs on m rows."""
    form = LocationScale(params.anchors, params.mean_anchors, corrections.shape)
    at_anchors = outputs.line + corrections.volatility_weights * outputs.extra
    scores = corrections.mean_weights * outputs.scores
    return form.quantiles(
        at_anchors, scores, RECORD_HORIZONS, regimes=rows.regime[outputs.at], widen=outputs.widen
    )


def _joined(rows: Rows, positions: Sequence[np.ndarray], forecasts: Sequence[Floats]) -> WalkForward:
    """Join the forecasts of all folds: a row for each coin, origin and horizon with a known outcome."""
    shape = (0, len(RECORD_HORIZONS), len(PROBABILITIES))
    at = np.concatenate([*positions, np.array([], dtype=np.int64)])
    quantiles = np.concatenate([*forecasts, np.empty(shape)])
    columns = [rows.column(h) for h in RECORD_HORIZONS]
    actual = rows.returns[at][:, columns]
    origin, horizon = np.nonzero(np.isfinite(actual))
    return WalkForward(
        coin_ids=np.array(rows.coin_ids)[rows.coin[at[origin]]],
        origins=rows.origins[at[origin]],
        horizons=np.array(RECORD_HORIZONS)[horizon],
        last_prices=rows.prices[at[origin]],
        probabilities=PROBABILITIES,
        log_return_quantiles=quantiles[origin, horizon],
        actual_log_returns=actual[origin, horizon],
    )
