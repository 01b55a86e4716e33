"""Probabilities that a price touches a level by a day, and that it closes beyond the level on the day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.scenarios.paths import JointPaths


@dataclass(frozen=True, slots=True, eq=False)
class TouchProbabilities:
    """The probabilities of one level by day, (H,) each.

    touch is the probability that the price touches the level at any time up to the day's close, close_beyond
    that the day closes at the level or beyond it. A level above the last price is touched by a high, and a
    close beyond it is a close above it. A level below the last price is touched by a low, and a close beyond
    it is a close below it. A level equal to the last price counts as touched.
    """

    touch: Floats
    close_beyond: Floats


def touch_probabilities(paths: JointPaths, coin_id: str, log_level: float) -> TouchProbabilities:
    """Compute the probabilities of one level of one coin.

    Args:
        paths: Joint paths with day highs and lows.
        coin_id: One of their coins.
        log_level: log(level / last price).

    Raises:
        ValueError: The level is not finite, or the coin is not among the paths.
    """
    if not np.isfinite(log_level):
        raise ValueError("a touch level must be a finite price above zero")
    i = paths.index(coin_id)
    if log_level >= 0:
        reached = np.maximum.accumulate(paths.highs[i], axis=0) >= log_level
        beyond = paths.closes[i] >= log_level
    else:
        reached = np.minimum.accumulate(paths.lows[i], axis=0) <= log_level
        beyond = paths.closes[i] <= log_level
    touch = np.ones(paths.days) if log_level == 0 else reached.mean(axis=1)
    return TouchProbabilities(np.asarray(touch), np.asarray(beyond.mean(axis=1)))
