"""Adapt the interval sizes of a model to the coverage that its earlier folds had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.intervals import weighted_sizes
from coincast_modelkit.models.distributions import LEVELS, PRIOR_BLOCKS, ResidualShape
from coincast_modelkit.volatility import REGIMES
from coincast_training.trainers.oos_corrections import Corrections, Outputs, correct, independent_blocks
from coincast_training.trainers.training_table import Rows

AT_80 = int(np.argmin(np.abs(LEVELS - 0.8)))
# The half-life of an outcome's weight is this many periods of the horizon, at most two years: the rule of
# the ensemble (`PoolParams.correction_periods`).
HALF_LIFE_PERIODS = 180
MOST_HALF_LIFE_DAYS = 730.0
MIN_ROWS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The folds so far: their out-of-sample outputs, and the corrections that were used for them."""

    rows: Rows
    anchors: tuple[int, ...]
    mean_anchors: tuple[int, ...]
    seen: list[Outputs] = field(default_factory=list)
    used: list[Corrections] = field(default_factory=list)

    def at(self, last_close: np.datetime64, later: Outputs) -> Corrections:
        """Return the corrections by the data up to `last_close`.

        Before the first fold, they are estimated from `later`, the outputs on the last block of the fit.
        """
        raw = correct(self.rows, self.anchors, self.mean_anchors, self.seen or [later], last_close)
        return replace(raw, shape=self._widened(raw.shape, last_close))

    def add(self, outputs: Outputs, later: Outputs, last_close: np.datetime64) -> Corrections:
        """Add the outputs of a fold, and return the corrections known before it; see `at`."""
        corrections = self.at(last_close, later)
        self.used.append(
            correct(self.rows, self.anchors, self.mean_anchors, self.seen or [later], last_close)
        )
        self.seen.append(outputs)
        return corrections

    def _widened(self, shape: ResidualShape, last_close: np.datetime64) -> ResidualShape:
        factors = np.stack(
            [
                _factors(self.rows, h, j, list(zip(self.seen, self.used, strict=True)), last_close)
                for j, h in enumerate(self.anchors)
            ]
        )
        return replace(shape, regime_widths=shape.regime_widths * factors)


def _factors(
    rows: Rows,
    horizon: int,
    anchor: int,
    made: Sequence[tuple[Outputs, Corrections]],
    last_close: np.datetime64,
) -> Floats:
    """Return the factors of the sizes in each regime (REGIMES,) for a coverage of 80 %.

    With these factors, the earlier 80 % intervals would have covered 80 % of the outcomes in each regime,
    with a higher weight for newer outcomes. The method is that of Gibbs and Candes 2021, in steps of a fold,
    and by regime (Mondrian). With few independent blocks, the factors shrink to 1, and the factor of a regime
    to that of all regimes.
    """
    if not made:
        return np.ones(REGIMES)
    at = np.concatenate([o.at for o, _ in made])
    size = np.concatenate([_size_80(o, c, anchor, horizon) for o, c in made])
    ended = rows.origins[at] + np.timedelta64(horizon, "D") <= last_close
    share = np.abs(rows.returns[at, rows.column(horizon)]) / np.where(size > 0, size, np.nan)
    known = ended & np.isfinite(share)
    together = _factor(rows, at[known], share[known], horizon, last_close)
    factors = np.full(REGIMES, together)
    for regime in range(REGIMES) if together > 0 else ():
        own = known & (rows.regime[at] == regime)
        factors[regime] *= _factor(rows, at[own], share[own] / together, horizon, last_close)
    return factors


def _factor(rows: Rows, at: np.ndarray, share: Floats, horizon: int, last_close: np.datetime64) -> float:
    """Return the factor from rows `at`, whose outcomes `share` (m,) are in units of half their interval."""
    if len(at) < MIN_ROWS:
        return 1.0
    age = (last_close - rows.origins[at]).astype(np.int64)
    half_life_days = min(HALF_LIFE_PERIODS * horizon, MOST_HALF_LIFE_DAYS)
    found = weighted_sizes(share, 0.5 ** (age / half_life_days), np.array([0.8]))[0]
    blocks = independent_blocks(rows, at, horizon)
    return float(found ** (blocks / (blocks + PRIOR_BLOCKS)))


def _size_80(outputs: Outputs, used: Corrections, anchor: int, horizon: int) -> Floats:
    """Return half the width of the 80 % interval of a fold's forecasts, (m,); their small mean is ignored."""
    log_volatility = outputs.line[:, anchor] + used.volatility_weights[anchor] * outputs.extra[:, anchor]
    width = np.exp(log_volatility + outputs.widen[:, anchor]) * np.sqrt(horizon)
    return np.asarray(width * used.shape.sizes[anchor, AT_80])
