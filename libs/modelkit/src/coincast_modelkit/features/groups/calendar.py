"""Calendar features of the closed day: weekday, month and year."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features.definition import Context, Feature

GROUP = "calendar"


def _weekday(c: Context) -> Floats:
    """Return the weekday of each day, 0 for Monday."""
    return ((c.candles.dates.astype(np.int64) + 3) % 7).astype(np.float64)


def _year_share(c: Context) -> Floats:
    start = c.candles.dates.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray((c.candles.dates - start).astype(np.int64) / 365.25)


def _month_share(c: Context) -> Floats:
    start = c.candles.dates.astype("datetime64[M]").astype("datetime64[D]")
    return np.asarray((c.candles.dates - start).astype(np.int64) / 30.44)


FEATURES = (
    Feature("weekday_sin", GROUP, "Sine of the weekday.", 0, lambda c: np.sin(2 * np.pi * _weekday(c) / 7)),
    Feature("weekday_cos", GROUP, "Cosine of the weekday.", 0, lambda c: np.cos(2 * np.pi * _weekday(c) / 7)),
    Feature(
        "weekend",
        GROUP,
        "1 on Saturday and Sunday, else 0.",
        0,
        lambda c: (_weekday(c) >= 5).astype(np.float64),
    ),
    Feature("month_share", GROUP, "How far into the month, 0 to 1.", 0, _month_share),
    Feature(
        "year_sin", GROUP, "Sine of the day of the year.", 0, lambda c: np.sin(2 * np.pi * _year_share(c))
    ),
    Feature(
        "year_cos", GROUP, "Cosine of the day of the year.", 0, lambda c: np.cos(2 * np.pi * _year_share(c))
    ),
)
