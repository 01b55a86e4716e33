"""Fits the hourly line and its residual sizes on what was known by a moment, and walks that forward.

The walk expands: sums of products grow with the hours that have an outcome by each cut, so all refits
together cost one pass. The same `Fitter` gives the served model, with the newest hour as the cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.candles import HOURS_A_DAY
from coincast_modelkit.hourly.features import TERMS
from coincast_modelkit.hourly.line import HourlyLine, Moments, line_of
from coincast_modelkit.hourly.model import ANCHORS, LEVELS, HourlyCalibration
from coincast_modelkit.intervals import regime_sizes
from coincast_modelkit.intervals.regimes import REGIMES
from coincast_training.hourly.dataset import HourlyTable

REFIT_DAYS = 60
# Residuals of the last year tell the sizes; a regime's own count as much as all once it has so many.
MEMORY_DAYS = 365
PRIOR_ROWS = 4000.0
MIN_RESIDUALS = 200
# The first line of a walk is fitted after so many days, the first sizes after so many days of its forecasts.
FIRST_FIT_DAYS = 180
FIRST_SIZES_DAYS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """What was fitted by the hour `cut` (a row of the table) and is used until `stop`."""

    cut: int
    stop: int
    calibration: HourlyCalibration


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """Log scales (K, n, A) of every hour's forecast, out of sample, and the folds that made them."""

    log_scales: Floats
    folds: tuple[Fold, ...]


class Fitter:
    """Fits lines on growing cuts of a table. Cuts must not fall."""

    def __init__(self, table: HourlyTable) -> None:
        self._table = table
        self._moments = [Moments(len(TERMS)) for _ in ANCHORS]
        self._read = [0] * len(ANCHORS)

    def line(self, cut: int) -> HourlyLine:
        """Return the line on every hour whose outcome was known when the hour before `cut` closed.

        Raises:
            ValueError: Too few hours have an outcome.
        """
        table = self._table
        for j, h in enumerate(ANCHORS):
            # The outcome of row i ends with row i + h, which is known once i + h <= cut - 1.
            stop = max(cut - h, self._read[j])
            new = slice(self._read[j], stop)
            self._moments[j].add(
                table.rows[:, new].reshape(-1, len(TERMS)), table.targets[:, new, j].reshape(-1)
            )
            self._read[j] = stop
        return line_of(self._moments)


def log_scales(table: HourlyTable, line: HourlyLine, hours: slice) -> Floats:
    """Return the log standard scale (K, m, A) of the return over each anchor, before sizes."""
    return np.asarray(
        line.predict(table.rows[:, hours]) + table.log_profile[:, hours] + 0.5 * np.log(np.array(ANCHORS))
    )


def sizes_of(
    table: HourlyTable, scales: Floats, cut: int, memory_days: int = MEMORY_DAYS
) -> tuple[Floats, Floats]:
    """Return sizes (A, R, L) and spread (A,) of the residuals known by `cut`.

    Raises:
        ValueError: An anchor has fewer than MIN_RESIDUALS.
    """
    sizes = np.empty((len(ANCHORS), REGIMES, len(LEVELS)))
    spread = np.empty(len(ANCHORS))
    for j, h in enumerate(ANCHORS):
        seen = slice(max(0, cut - memory_days * HOURS_A_DAY), max(0, cut - h))
        residuals = table.returns[:, seen, j] / np.exp(scales[:, seen, j])
        known = np.isfinite(residuals)
        found, regimes = residuals[known], table.regimes[:, seen][known]
        if len(found) < MIN_RESIDUALS:
            raise ValueError(f"the sizes at {h} hours need {MIN_RESIDUALS} outcomes, got {len(found)}")
        sizes[j] = regime_sizes(found, np.ones(len(found)), regimes, LEVELS, prior_rows=PRIOR_ROWS)
        spread[j] = np.sqrt(np.mean(found**2))
    return sizes, spread


def walk_forward(table: HourlyTable, first: int, last: int, refit_days: int = REFIT_DAYS) -> Walk:
    """Walk over the rows first to last (exclusive), refitting every refit_days from the start of the table.

    Sizes come from the walk's own earlier forecasts, so the walk begins as early as the data allow and only
    its folds from `first` on are returned.
    """
    scales = np.full(table.returns.shape, np.nan)
    folds = []
    fitter = Fitter(table)
    for cut, stop in _cuts(table, first, last, refit_days):
        try:
            line = fitter.line(cut)
        except ValueError:
            continue
        scales[:, cut:stop] = log_scales(table, line, slice(cut, stop))
        if cut < first:
            continue
        try:
            sizes, spread = sizes_of(table, scales, cut)
        except ValueError:
            continue
        folds.append(Fold(cut, stop, HourlyCalibration(line, sizes, spread)))
    return Walk(scales, tuple(folds))


def calibrate_now(table: HourlyTable, refit_days: int = REFIT_DAYS) -> tuple[HourlyCalibration, Walk]:
    """Return what serving uses, fitted on every hour, and the walk whose residuals gave its sizes.

    Raises:
        ValueError: There are too few hours for a line or for sizes out of sample.
    """
    last = len(table.starts)
    walk = walk_forward(table, FIRST_FIT_DAYS * HOURS_A_DAY, last, refit_days)
    line = Fitter(table).line(last)
    sizes, spread = sizes_of(table, walk.log_scales, last)
    return HourlyCalibration(line, sizes, spread), walk


def _cuts(table: HourlyTable, first: int, last: int, refit_days: int) -> Iterator[tuple[int, int]]:
    """Yield rows to refit at and until when each fit is used; one cut falls on `first`."""
    step = refit_days * HOURS_A_DAY
    start = first % step
    while start < FIRST_FIT_DAYS * HOURS_A_DAY and start + step <= first:
        start += step
    for cut in range(start, last, step):
        yield cut, min(cut + step, last)


def residual_mask(table: HourlyTable, fold: Fold, anchor: int, hours: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which coins and hours (K, stop - cut) of a fold have an outcome and are among `hours`."""
    part = slice(fold.cut, fold.stop)
    return np.asarray(np.isfinite(table.returns[:, part, anchor]) & hours[None, part])
