"""Gauges of the live record: production's versions of a model pooled, where the sample is large enough."""

from __future__ import annotations

import math

import polars as pl
from prometheus_client import Gauge

from coincast_modelkit.artifact import HorizonRecord
from coincast_modelkit.hourly.candles import HOURS_A_DAY
from coincast_modelkit.hourly.model import ANCHORS
from coincast_training import metrics
from coincast_training.scoring.accuracy import Live, live_records

# Coins rise and fall together, so the errors of one day are nearly one observation. Therefore a minimum of
# days is required as well as of forecasts: below twenty days the standard error of an 80 % coverage is 9
# points and more, and below a hundred forecasts its steps are as coarse as the deviation that the alert
# detects.
MIN_FORECASTS = 100
MIN_DAYS = 20
Labels = tuple[str, ...]
Figures = dict[tuple[Gauge, Labels], float]


class LiveGauges:
    """Set the gauges of the record, and remove those whose sample has become too small."""

    def __init__(self) -> None:
        self._shown: Figures = {}

    def show(self, frame: pl.DataFrame) -> None:
        """Set the gauges of scored forecasts and remove gauges shown before that are not in the frame."""
        production = frame.filter(pl.col("variant") == "production").with_columns(version=pl.lit(""))
        figures: Figures = {}
        for live in live_records(production):
            if live.horizon.horizon_hours and live.horizon.horizon_hours not in ANCHORS:
                continue
            if live.horizon.forecasts >= MIN_FORECASTS and live.days >= MIN_DAYS:
                figures |= _figures(live)
        for (gauge, labels), value in figures.items():
            gauge.labels(*labels).set(value)
        for gauge, labels in self._shown.keys() - figures.keys():
            gauge.remove(*labels)
        self._shown = figures


def _figures(live: Live) -> Figures:
    labels = (live.model, f"{horizon_days(live.horizon):.4g}")
    figures: Figures = {}
    # Skill of the whole distribution: a median equal to the last price has no skill against the last price.
    if live.horizon.crps_skill_percent is not None:
        figures[metrics.LIVE_SKILL, labels] = live.horizon.crps_skill_percent
    for level, value in ((80, live.horizon.coverage_80_percent), (95, live.horizon.coverage_95_percent)):
        if value is not None:
            figures[metrics.LIVE_COVERAGE, (*labels, str(level))] = value
            figures[metrics.LIVE_COVERAGE_ERROR, (*labels, str(level))] = coverage_error(level, live)
    return figures


def horizon_days(horizon: HorizonRecord) -> float:
    """Return a horizon in days; one of hours is a fraction."""
    return horizon.horizon_days or horizon.horizon_hours / HOURS_A_DAY


def coverage_error(level_percent: float, live: Live) -> float:
    """Return the standard error of a coverage, in points.

    The coins and the hours of a day count as one forecast, and so do `horizon_days` overlapping days, so the
    error is never underestimated.
    """
    share = level_percent / 100
    independent = max(1.0, live.days / max(1.0, horizon_days(live.horizon)))
    return 100 * math.sqrt(share * (1 - share) / independent)
