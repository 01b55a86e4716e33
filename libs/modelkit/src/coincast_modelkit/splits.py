"""Walk-forward splits by date, purged so that no training target extends into the test days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Fold:
    """A split of forecast origins by time into training and test.

    Test origins lie from test_from to test_to (both included); training origins between train_from and
    train_to. All are datetime64[D]. train_to + horizon < test_from, so every training target ends before the
    close of the first test origin.
    """

    train_from: np.datetime64
    train_to: np.datetime64
    test_from: np.datetime64
    test_to: np.datetime64

    def purged_to(self, horizon_days: int) -> np.datetime64:
        """Return the last origin whose target at a horizon ends before the first test origin."""
        return self.test_from - np.timedelta64(horizon_days + 1, "D")

    def train_mask(self, origins: np.ndarray, horizon_days: int) -> np.ndarray:
        """Return which origins (n,) may be used for training at this horizon, as booleans."""
        return np.asarray((origins >= self.train_from) & (origins <= self.purged_to(horizon_days)))

    def test_mask(self, origins: np.ndarray) -> np.ndarray:
        """Return which origins (n,) lie in the test period, as booleans."""
        return np.asarray((origins >= self.test_from) & (origins <= self.test_to))


def walk_forward(
    first_day: np.datetime64,
    first_test: np.datetime64,
    last_day: np.datetime64,
    *,
    step_days: int,
    embargo_days: int,
    rolling_days: int | None = None,
) -> Iterator[Fold]:
    """Yield folds of step_days test days each, which are trained on the days before them.

    A fold without any training day is left out.

    Args:
        first_day: The first day of the history.
        first_test: The first day to test.
        last_day: The last day to test.
        step_days: Number of test days of a fold.
        embargo_days: Gap between the last training origin and the first test origin, at least the longest
            horizon.
        rolling_days: Length of the training window; None lets the window expand from first_day.

    Raises:
        ValueError: step_days, embargo_days or rolling_days is out of range.
    """
    if step_days < 1 or embargo_days < 0 or (rolling_days is not None and rolling_days < 1):
        raise ValueError("step_days and rolling_days must be at least 1, embargo_days at least 0")
    start = first_test
    while start <= last_day:
        stop = min(start + np.timedelta64(step_days - 1, "D"), last_day)
        train_to = start - np.timedelta64(embargo_days + 1, "D")
        train_from = first_day
        if rolling_days is not None:
            train_from = max(first_day, train_to - np.timedelta64(rolling_days - 1, "D"))
        if train_to >= train_from:
            yield Fold(train_from, train_to, start, stop)
        start = stop + np.timedelta64(1, "D")
