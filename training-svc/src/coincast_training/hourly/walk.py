"""Fit the hourly regression and the sizes of its residuals on the hours up to a cut, and walk forward.

Each refit uses all hours with an outcome by its cut. The sums of products are only extended by the new hours,
so that all refits together take one pass over the data. The served model is the fit with the latest hour as
cut.
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
from coincast_modelkit.models.distributions import MAX_RESIDUAL
from coincast_modelkit.volatility import REGIMES
from coincast_training.hourly.dataset import HourlyTable

REFIT_DAYS = 60
# Sizes are estimated from residuals of the last MEMORY_DAYS. With PRIOR_ROWS residuals of its own, a regime
# has half the weight in its sizes; all regimes together have the other half.
MEMORY_DAYS = 365
PRIOR_ROWS = 4000.0
# With this many residuals, an hour of origin has half the weight in its width; the other half is 1.
HOUR_PRIOR_ROWS = 500.0
MIN_RESIDUALS = 200
# The first regression of a walk is fitted after this many days.
FIRST_FIT_DAYS = 180
# A training needs a first regression, and the forecasts of one refit to estimate the sizes from.
MIN_DAYS = FIRST_FIT_DAYS + REFIT_DAYS

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """A fit on the hours before `cut` (a row of the table), used until `stop`."""

    cut: int
    stop: int
    calibration: HourlyCalibration


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """Out-of-sample log scales (K, n, A) of the forecasts of every hour, and the folds that made them."""

    log_scales: Floats
    folds: tuple[Fold, ...]


def scored_rows(table: HourlyTable, walk: Walk, fold: Fold, anchor: int) -> tuple[Rows, Rows, Floats, Floats]:
    """Return coins, rows, scales (m,) and sizes (m, L) of the forecasts of a fold with a known outcome."""
    part = slice(fold.cut, fold.stop)
    good = np.isfinite(table.returns[:, part, anchor]) & np.isfinite(walk.log_scales[:, part, anchor])
    coin, row = np.nonzero(good)
    row = row + fold.cut
    widths = fold.calibration.hour_widths[anchor][table.origin_hours[row]]
    scale = np.exp(walk.log_scales[coin, row, anchor]) * widths
    return coin, row, scale, fold.calibration.sizes[anchor][table.regimes[coin, row]]


class Fitter:
    """Fit regressions on longer and longer parts of a table; cuts must not decrease."""

    def __init__(self, table: HourlyTable) -> None:
        self._table = table
        self._moments = [Moments(len(TERMS)) for _ in ANCHORS]
        self._read = [0] * len(ANCHORS)

    def line(self, cut: int) -> HourlyLine:
        """Fit the regression on all hours whose outcome is known at the close of the hour before `cut`.

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
    """Return the log scale (K, m, A) of the return over each anchor; sizes multiply it."""
    return np.asarray(
        line.predict(table.rows[:, hours]) + table.log_profile[:, hours] + 0.5 * np.log(np.array(ANCHORS))
    )


def calibrate(
    table: HourlyTable, line: HourlyLine, scales: Floats, cut: int, *, memory_days: int = MEMORY_DAYS
) -> HourlyCalibration:
    """Return the regression with the sizes of the residuals of earlier forecasts.

    Forecasts count if their outcome is known by `cut`.

    Args:
        table: The hours.
        line: The regression that is used from `cut` on.
        scales: Log scales (K, n, A) of the forecasts, out of sample.
        cut: The first row that is not known yet.
        memory_days: Days before `cut` whose residuals count.

    Raises:
        ValueError: An anchor has fewer than MIN_RESIDUALS.
    """
    sizes = np.empty((len(ANCHORS), REGIMES, len(LEVELS)))
    spread = np.empty(len(ANCHORS))
    widths = np.empty((len(ANCHORS), HOURS_A_DAY))
    for j, h in enumerate(ANCHORS):
        seen = slice(max(0, cut - memory_days * HOURS_A_DAY), max(0, cut - h))
        residuals = table.returns[:, seen, j] / np.exp(scales[:, seen, j])
        known = np.isfinite(residuals)
        found, regimes = residuals[known], table.regimes[:, seen][known]
        if len(found) < MIN_RESIDUALS:
            raise ValueError(f"the sizes at {h} hours need {MIN_RESIDUALS} outcomes, got {len(found)}")
        hours = np.broadcast_to(table.origin_hours[seen], residuals.shape)[known]
        widths[j] = _hour_widths(np.abs(found), hours)
        found = found / widths[j][hours]
        sizes[j] = regime_sizes(found, np.ones(len(found)), regimes, LEVELS, prior_rows=PRIOR_ROWS)
        spread[j] = np.sqrt(np.mean(np.minimum(np.abs(found), MAX_RESIDUAL) ** 2))
    return HourlyCalibration(line, sizes, spread, widths)


def _hour_widths(found: Floats, hours: NDArray[np.int64]) -> Floats:
    """Return the mean absolute residual by UTC hour of the origin, relative to the overall mean, (24,).

    It is shrunk towards 1.
    """
    count = np.bincount(hours, minlength=HOURS_A_DAY)
    total = np.bincount(hours, weights=found, minlength=HOURS_A_DAY)
    mean = max(float(found.mean()), 1e-12)
    return np.asarray((total / mean + HOUR_PRIOR_ROWS) / (count + HOUR_PRIOR_ROWS))


def walk_forward(table: HourlyTable, first: int, last: int, refit_days: int = REFIT_DAYS) -> Walk:
    """Walk over the rows `first` to `last` (exclusive), with a refit every `refit_days`.

    Sizes are estimated from earlier forecasts of the walk. It therefore begins as early as the data allow;
    only the folds from `first` on are returned.
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
            folds.append(Fold(cut, stop, calibrate(table, line, scales, cut)))
        except ValueError:
            continue
    return Walk(scales, tuple(folds))


def calibrate_now(table: HourlyTable, refit_days: int = REFIT_DAYS) -> tuple[HourlyCalibration, Walk]:
    """Fit the model on every hour for serving; return it and the walk whose residuals gave its sizes.

    Raises:
        ValueError: There are too few hours for a regression or for sizes out of sample.
    """
    last = len(table.starts)
    walk = walk_forward(table, FIRST_FIT_DAYS * HOURS_A_DAY, last, refit_days)
    line = Fitter(table).line(last)
    return calibrate(table, line, walk.log_scales, last), walk


def _cuts(table: HourlyTable, first: int, last: int, refit_days: int) -> Iterator[tuple[int, int]]:
    """Yield the row of each refit and the row up to which its fit is used; one refit is at `first`."""
    step = refit_days * HOURS_A_DAY
    start = first % step
    while start < FIRST_FIT_DAYS * HOURS_A_DAY and start + step <= first:
        start += step
    for cut in range(start, last, step):
        yield cut, min(cut + step, last)
