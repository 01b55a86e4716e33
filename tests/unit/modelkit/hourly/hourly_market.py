"""Hourly candles of an invented market with a daily and weekly pattern, for the tests of the hourly model."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyCandles
from coincast_modelkit.hourly.features import TERMS
from coincast_modelkit.hourly.line import HourlyLine
from coincast_modelkit.hourly.model import ANCHORS, LEVELS, HourlyCalibration, IntradayModel
from coincast_modelkit.hourly.profile import WeekProfile, hour_of_week

FIRST = np.datetime64("2021-01-04T00", "h")


def pattern(hours: np.ndarray) -> np.ndarray:
    """Return the true variance factor of each hour: busy at 14:00, calm at weekends."""
    week = hour_of_week(hours)
    factor = np.where(week >= 5 * 24, 0.6, 1.0) * (1 + 0.8 * np.exp(-(((week % 24) - 14) ** 2) / 8))
    return np.asarray(factor)


def invented(
    coin_id: str = "bitcoin", days: int = 200, *, seed: int = 1, ranges: bool = True
) -> HourlyCandles:
    """Return an invented coin whose volatility clusters over days and follows `pattern` in the week."""
    rng = np.random.default_rng(seed)
    count = days * 24
    starts = FIRST + np.arange(count)
    level = np.zeros(count)
    shocks = 0.04 * rng.normal(size=count)
    for i in range(1, count):
        level[i] = 0.995 * level[i - 1] + shocks[i]
    sigma = 0.006 * np.exp(level) * np.sqrt(pattern(starts))
    steps = sigma[:, None] * rng.normal(size=(count, 12)) / np.sqrt(12)
    path = np.log(100.0) + np.cumsum(steps.reshape(-1)).reshape(count, 12)
    opened = np.concatenate([[np.log(100.0)], path[:-1, -1]])
    inside = np.column_stack([opened, path])
    given = {"open": np.exp(opened), "high": np.exp(inside.max(axis=1)), "low": np.exp(inside.min(axis=1))}
    volume = 1e6 * np.exp(0.3 * rng.normal(size=count))
    return HourlyCandles.of(coin_id, starts, np.exp(path[:, -1]), volume=volume, **(given if ranges else {}))


PROFILE = WeekProfile(pattern(FIRST + np.arange(168)) / pattern(FIRST + np.arange(168)).mean())


def day_model() -> IntradayModel:
    """Return a model that reads the last day's volatility alone."""
    slopes = np.zeros((len(ANCHORS), len(TERMS)))
    slopes[:, TERMS.index("volatility_24h")] = 1.0
    line = HourlyLine(slopes, np.zeros(len(ANCHORS)), np.full(len(ANCHORS), 0.3))
    sizes = np.tile(-np.log1p(-LEVELS), (len(ANCHORS), 3, 1)) * np.array([1.2, 1.0, 0.9])[None, :, None]
    calibration = HourlyCalibration(line, sizes, np.full(len(ANCHORS), 1.1), np.ones((len(ANCHORS), 24)))
    return IntradayModel(
        {RANGES: calibration, CLOSES: calibration}, panel_profile=PROFILE, profiles={"bitcoin": PROFILE}
    )
