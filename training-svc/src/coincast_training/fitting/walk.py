"""Walking any recipe forward: fit, correct by what went before, forecast the next days, go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.models.location_scale import LocationScale
from coincast_modelkit.splits import Fold, walk_forward
from coincast_training.fitting.base import Progress, WalkForward
from coincast_training.fitting.calibration import Calibration
from coincast_training.fitting.corrections import Corrections, Outputs
from coincast_training.fitting.params import WalkParams
from coincast_training.fitting.rows import Rows
from coincast_training.fitting.window import Window

RECORD_HORIZONS = (1, 3, 7, 14, 30)
DAY = np.timedelta64(1, "D")


class Fitted(Protocol):
    """A recipe fitted on a window, not yet corrected."""

    def outputs(self, rows: Rows, at: np.ndarray) -> Outputs:
        """Uncorrected outputs on some rows."""
        ...


FitWindow = Callable[[Window], tuple[Fitted, Outputs]]


def folds_of(rows: Rows, params: WalkParams) -> list[Fold]:
    """The folds of a table: its later half in equal parts, or the days that the settings name."""
    first, last = rows.origins.min(), rows.origins.max()
    days = (last - first).astype(int) + 1
    begin = first + np.timedelta64(max(days // 2, min(days * 7 // 10, 120)), "D")
    if params.first_test is not None:
        begin = np.datetime64(params.first_test, "D")
    step = params.step_days or max(7, -(-int((last - begin).astype(int)) // params.folds))
    return list(
        walk_forward(
            first,
            begin,
            last - DAY,
            step_days=step,
            embargo_days=max(params.anchors),
            rolling_days=params.rolling_days,
        )
    )


def walk(
    rows: Rows, params: WalkParams, fit_window: FitWindow, *, progress: Progress
) -> tuple[Calibration, WalkForward]:
    """What outputs made out of sample teach, fold after fold, and the forecasts made from them.

    fit_window(window) fits and also gives the outputs on its later block, which correct the first fold alone.
    """
    folds = folds_of(rows, params)
    known = Calibration(rows, params.anchors, params.mean_anchors)
    quantiles = []
    for number, fold in enumerate(folds):
        # A target may end on the day before the first test origin, and no later: see Fold.
        window = Window(fold.train_from, fold.test_from - DAY)
        fitted, later = fit_window(window)
        outputs = fitted.outputs(rows, np.flatnonzero(fold.test_mask(rows.origins)))
        corrections = known.add(outputs, later, window.last_close)
        quantiles.append(quantiles_of(rows, outputs, corrections, params))
        progress((number + 1) / len(folds), f"walked forward {number + 1} of {len(folds)} folds")
    return known, _joined(rows, [s.at for s in known.seen], quantiles)


def quantiles_of(rows: Rows, outputs: Outputs, corrections: Corrections, params: WalkParams) -> Floats:
    """Log-return quantiles (m, H, Q) at RECORD_HORIZONS from outputs of m rows."""
    form = LocationScale(params.anchors, params.mean_anchors, corrections.shape)
    at_anchors = outputs.line + corrections.volatility_weights * outputs.extra
    scores = corrections.mean_weights * outputs.scores
    return form.quantiles(
        at_anchors, scores, RECORD_HORIZONS, regimes=rows.regime[outputs.at], widen=outputs.widen
    )


def _joined(rows: Rows, positions: Sequence[np.ndarray], forecasts: Sequence[Floats]) -> WalkForward:
    """One record of all folds: a row a coin, origin and horizon whose day has come."""
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


def no_record() -> WalkForward:
    """The record of a fit that did not walk."""
    nothing = np.array([])
    return WalkForward(
        coin_ids=np.array([], dtype=np.str_),
        origins=np.array([], dtype="datetime64[D]"),
        horizons=np.array([], dtype=np.int64),
        last_prices=nothing,
        probabilities=PROBABILITIES,
        log_return_quantiles=np.empty((0, len(PROBABILITIES))),
        actual_log_returns=nothing,
    )
