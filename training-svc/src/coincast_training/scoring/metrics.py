"""Gauges of the live record: all production versions of a model together, if the sample is large enough."""

from __future__ import annotations

import math

import polars as pl
from prometheus_client import Gauge

from coincast_modelkit.artifact import HorizonRecord
from coincast_modelkit.hourly.candles import HOURS_A_DAY
from coincast_modelkit.hourly.model import ANCHORS
from coincast_training import metrics
from coincast_training.scoring.accuracy import Live, live_records

# Coins move together, so the errors of one day are nearly one observation. Therefore there is a minimum of
# days as well as of forecasts. Below 20 days, the standard error of an 80 % coverage is 9 percentage points
# and more. Below 100 forecasts, the coverage changes in steps as large as the deviation that the alert
# detects.
MIN_FORECASTS = 100
MIN_DAYS = 20
Labels = tuple[str, ...]
Values = dict[tuple[Gauge, Labels], float]


class LiveGauges:
    """Set the gauges of the record, and remove gauges whose sample has become too small."""

    def __init__(self) -> None:
        self._shown: Values = {}

    def show(self, frame: pl.DataFrame) -> None:
        """Set the gauges of the scored forecasts; remove earlier gauges that are no longer in the frame."""
        production = frame.filter(pl.col("variant") == "production").with_columns(version=pl.lit(""))
        figures: Values = {}
        for live in live_records(production):
            if live.horizon.horizon_hours and live.horizon.horizon_hours not in ANCHORS:
                continue
            if live.horizon.forecasts >= MIN_FORECASTS and live.days >= MIN_DAYS:
                figures |= _values(live)
        for (gauge, labels), value in figures.items():
            gauge.labels(*labels).set(value)
        for gauge, labels in self._shown.keys() - figures.keys():
            gauge.remove(*labels)
        self._shown = figures


def _values(live: Live) -> Values:
    labels = (live.model, f"{horizon_days(live.horizon):.4g}")
    figures: Values = {}
    # The skill is that of the whole distribution, since a median equal to the last price never has skill
    # against it.
    if live.horizon.crps_skill_percent is not None:
        figures[metrics.LIVE_SKILL, labels] = live.horizon.crps_skill_percent
    for level, value in ((80, live.horizon.coverage_80_percent), (95, live.horizon.coverage_95_percent)):
        if value is not None:
            figures[metrics.LIVE_COVERAGE, (*labels, str(level))] = value
            figures[metrics.LIVE_COVERAGE_ERROR, (*labels, str(level))] = coverage_error(level, live)
    return figures


def horizon_days(horizon: HorizonRecord) -> float:
    """Return a horizon in days; a horizon in hours is a fraction."""
    return horizon.horizon_days or horizon.horizon_hours / HOURS_A_DAY


def coverage_error(level_percent: float, live: Live) -> float:
    """Return the standard error of a coverage, in percentage points.

    All coins and hours of a day count as one observation, and so do the overlapping days of one horizon. The
    error is therefore not underestimated.
    """
    share = level_percent / 100
    independent = max(1.0, live.days / max(1.0, horizon_days(live.horizon)))
    return 100 * math.sqrt(share * (1 - share) / independent)
