"""Sequential paired test: e-values by betting on which of two forecasters has the smaller loss.

Each day gives d in [-1, 1], the relative difference of the losses. If A is at least as good as B, a bet on B
has no positive expectation given the past. The capital starts at 1; the probability that it ever exceeds 20
is then at most 1 in 20 (Ville's inequality; Waudby-Smith and Ramdas 2024, Henzi and Ziegel 2022). This holds
for a fixed first day, but not for a sliding window.

Forecasts h days ahead overlap. The days are therefore split into h series whose days do not overlap; each
series has its own capital, and the capitals are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
DECISIVE_E_VALUE = 20.0


@dataclass(frozen=True, slots=True)
class Sequential:
    """The number of pairs, and the e-values for `b is better` and for `a is better`."""

    pairs: int
    for_b: float
    for_a: float

    @property
    def better(self) -> str:
        """Return `a`, `b` or `undecided`, at a level of 5 %."""
        if self.for_b >= DECISIVE_E_VALUE > self.for_a:
            return "b"
        return "a" if self.for_a >= DECISIVE_E_VALUE > self.for_b else "undecided"

    @property
    def e_value(self) -> float:
        """Return the larger of the two e-values."""
        return max(self.for_a, self.for_b)


def relative_difference(loss_a: Floats, loss_b: Floats) -> Floats:
    """Return (a - b) / (a + b), in [-1, 1]; positive if b has the smaller loss, 0 if both are 0."""
    total = loss_a + loss_b
    return np.divide(loss_a - loss_b, total, out=np.zeros_like(total), where=total > 0)


def cumulative(differences: Floats, horizon: int) -> float:
    """Return the mean final capital over the series of days that do not overlap; an empty series counts as 1.

    The capital of a series starts with 1. It is the mean over several fixed stakes, so that no single stake
    has to be chosen.
    """
    series = max(1, horizon)
    bounded = np.minimum(np.maximum(differences, -1.0), 1.0)
    daily = np.log1p(np.multiply.outer(STAKES, bounded))
    grown = np.stack([daily[:, start::series].sum(axis=1) for start in range(series)])
    return float(np.exp(np.minimum(grown, 500)).mean(axis=1).mean())


def evaluate_pairs(daily: dict[int, Floats], pairs: int) -> Sequential:
    """Return the result of the test over all horizons.

    Args:
        daily: For each horizon, the mean relative difference of each day, from the first day of the test on.
        pairs: Number of compared forecasts.
    """
    if not daily:
        return Sequential(0, 1.0, 1.0)
    for_b = _mean([cumulative(days, horizon) for horizon, days in daily.items()])
    for_a = _mean([cumulative(-days, horizon) for horizon, days in daily.items()])
    return Sequential(pairs, for_b, for_a)


def _mean(values: list[float]) -> float:
    """Return the mean; most tests are of one horizon, where an array would take longer than the sum."""
    return values[0] if len(values) == 1 else float(np.mean(values))
