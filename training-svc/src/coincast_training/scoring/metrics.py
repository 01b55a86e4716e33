"""The live record as gauges: production's versions of a model pooled, and only what is enough to tell."""

from __future__ import annotations

import math

import polars as pl
from prometheus_client import Gauge

from coincast_training import metrics
from coincast_training.scoring.accuracy import Live, live_records

# Coins fall and rise together: the errors of one day are nearly one witness, whatever their number. So days
# are asked for as well as forecasts; below twenty the error of an 80 % coverage by chance alone is 9 points
# and more, and below a hundred forecasts its steps are as coarse as what the alert looks for.
MIN_FORECASTS = 100
MIN_DAYS = 20
Labels = tuple[str, ...]
Figures = dict[tuple[Gauge, Labels], float]


class LiveGauges:
    """Shows the record, and takes away what no longer has enough."""

    def __init__(self) -> None:
        self._shown: Figures = {}

    def show(self, frame: pl.DataFrame) -> None:
        """The gauges of scored forecasts; those that were shown before and are not told any more go."""
        production = frame.filter(pl.col("variant") == "production").with_columns(version=pl.lit(""))
        figures: Figures = {}
        for live in live_records(production):
            if live.horizon.forecasts >= MIN_FORECASTS and live.days >= MIN_DAYS:
                figures |= _figures(live)
        for (gauge, labels), value in figures.items():
            gauge.labels(*labels).set(value)
        for gauge, labels in self._shown.keys() - figures.keys():
            gauge.remove(*labels)
        self._shown = figures


def _figures(live: Live) -> Figures:
    labels = (live.model, str(live.horizon.horizon_days))
    figures: Figures = {}
    # Of the whole distribution: a point that is the last price has no skill against the last price.
    if live.horizon.crps_skill_percent is not None:
        figures[metrics.LIVE_SKILL, labels] = live.horizon.crps_skill_percent
    for level, value in ((80, live.horizon.coverage_80_percent), (95, live.horizon.coverage_95_percent)):
        if value is not None:
            figures[metrics.LIVE_COVERAGE, (*labels, str(level))] = value
            figures[metrics.LIVE_COVERAGE_ERROR, (*labels, str(level))] = coverage_error(level, live)
    return figures


def coverage_error(level_percent: float, live: Live) -> float:
    """The standard error of a kept promise, in points. A day's coins count as one forecast, and so do the
    `horizon_days` days that forecasts share: it is never too small.
    """
    share, independent = level_percent / 100, max(1.0, live.days / live.horizon.horizon_days)
    return 100 * math.sqrt(share * (1 - share) / independent)
