"""Sequential paired test: e-values by betting on which of two forecasters has the smaller loss.

Each day gives d in [-1, 1], the relative difference of the losses. If A is at least as good as B, a bet on B
has no positive expectation given the past: the probability that the capital, which starts at 1, ever exceeds
20 is at most 1 in 20 (Ville's inequality; Waudby-Smith and Ramdas 2024, Henzi and Ziegel 2022). That holds
from one fixed first day, never for a sliding window.

Forecasts h days ahead overlap, so days are distributed over h series in turn. Each is bet on separately, and
the capitals are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
TELLS = 20.0


@dataclass(frozen=True, slots=True)
class Sequential:
    """The e-values for `b better` and for `a better`."""

    pairs: int
    for_b: float
    for_a: float

    @property
    def better(self) -> str:
        """Return a, b or undecided, at 5 %."""
        if self.for_b >= TELLS > self.for_a:
            return "b"
        return "a" if self.for_a >= TELLS > self.for_b else "undecided"

    @property
    def e_value(self) -> float:
        """Return the larger of the two e-values."""
        return max(self.for_a, self.for_b)


def relative_difference(loss_a: Floats, loss_b: Floats) -> Floats:
    """Return (a - b) / (a + b), in [-1, 1], positive where b has the smaller loss; 0 where both are zero."""
    total = loss_a + loss_b
    return np.divide(loss_a - loss_b, total, out=np.zeros_like(total), where=total > 0)


def capital(differences: Floats) -> float:
    """Return the growth of a stake of 1: the mean over fixed stakes, so that none had to be chosen."""
    grown = np.log1p(STAKES[:, None] * np.clip(differences, -1, 1)[None, :]).sum(axis=1)
    return float(np.exp(np.minimum(grown, 500)).mean())


def cumulative(differences: Floats, horizon: int) -> float:
    """Return the mean capital over the series of days that do not overlap; empty series count as 1."""
    return float(np.mean([capital(differences[start::horizon]) for start in range(max(1, horizon))]))


def evaluate_pairs(daily: dict[int, Floats], pairs: int) -> Sequential:
    """Return the verdict over all horizons.

    `daily` holds, for each horizon, the mean difference of each day in order, from the experiment's first
    day.

    Args:
        daily: For each horizon the mean difference of each day.
        pairs: Number of compared forecasts.
    """
    if not daily:
        return Sequential(0, 1.0, 1.0)
    for_b = float(np.mean([cumulative(days, horizon) for horizon, days in daily.items()]))
    for_a = float(np.mean([cumulative(-days, horizon) for horizon, days in daily.items()]))
    return Sequential(pairs, for_b, for_a)
