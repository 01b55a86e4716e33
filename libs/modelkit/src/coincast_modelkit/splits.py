"""Walk-forward splits by date, purged so that no training target reaches into the test days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Fold:
    """A split of origins in time into training and test.

    Test origins lie from test_from to test_to (both included); training origins between train_from and
    train_to. All are datetime64[D]. train_to + horizon < test_from, so a target ends before the first test
    origin's own close.
    """

    train_from: np.datetime64
    train_to: np.datetime64
    test_from: np.datetime64
    test_to: np.datetime64

    def purged_to(self, horizon_days: int) -> np.datetime64:
        """Return the last training origin whose target of a horizon still ends before the test.

        It is never past the test.
        """
        return self.test_from - np.timedelta64(horizon_days + 1, "D")

    def train_mask(self, origins: np.ndarray, horizon_days: int) -> np.ndarray:
        """Return which origins (n,) may train a target of this horizon."""
        return np.asarray((origins >= self.train_from) & (origins <= self.purged_to(horizon_days)))

    def test_mask(self, origins: np.ndarray) -> np.ndarray:
        """Return which origins (n,) are tested."""
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
    """Return folds that test step_days at a time, each trained on the days before.

    A fold without any training day is left out.

    Args:
        first_day: The first day of the history.
        first_test: The first day to test.
        last_day: The last day to test.
        step_days: Test days of a fold.
        embargo_days: Gap between the last training origin and the first test origin, at least the longest
            horizon.
        rolling_days: Length of the training window; without it the window expands from first_day.

    Raises:
        ValueError: A number makes no sense.
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
