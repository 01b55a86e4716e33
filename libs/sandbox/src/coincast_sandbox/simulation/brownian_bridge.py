"""Simulate the intraday prices of a day that match its daily candle.

A day has 288 points, five minutes apart. The log price is a Brownian bridge between anchors: the open at the
first point, high and low in random order at full hours, the close at the last hour and at the last point. The
anchors lie on full hours so that the hourly series (every twelfth point) also has the day's open, high, low
and close.
"""

from __future__ import annotations

import numpy as np

from coincast_sandbox.simulation.candles import Floats

POINTS_PER_DAY = 288
STEP_SECONDS = 300
POINTS_PER_HOUR = 12
LAST_HOUR = 276


def day_path(opened: float, high: float, low: float, close: float, rng: np.random.Generator) -> Floats:
    """Return prices (288,) within [low, high] that include open, high, low and close.

    The result depends only on the arguments and the state of the generator.
    """
    first, second = np.sort(rng.choice(np.arange(1, 23), size=2, replace=False)) * POINTS_PER_HOUR
    peaks = (high, low) if rng.random() < 0.5 else (low, high)
    at = np.array([0, first, second, LAST_HOUR, POINTS_PER_DAY - 1])
    levels = np.log([opened, *peaks, close, close])
    path = np.interp(np.arange(POINTS_PER_DAY), at, levels) + _bridges(at, np.log(high / low), rng)
    prices = np.clip(np.exp(path), low, high)
    prices[at] = (opened, *peaks, close, close)
    return prices


def _bridges(at: np.ndarray, log_range: float, rng: np.random.Generator) -> Floats:
    """Return noise (288,): a random walk scaled to the day's range, and zero at each anchor."""
    steps = rng.standard_normal(POINTS_PER_DAY)
    walk = np.cumsum(steps) * log_range / 1.7 / np.sqrt(POINTS_PER_DAY)
    return np.asarray(walk - np.interp(np.arange(POINTS_PER_DAY), at, walk[at]))
