"""Charts of a backtest report."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from coincast_modelkit.candles import Panel
from coincast_training.backtest.run import Backtest
from coincast_training.pipeline import losses
from coincast_training.pipeline.metrics import MIN_SIGMA, coverage_percent, rows

LEVELS = (20, 40, 50, 60, 80, 90, 95)
ROLLING_DAYS = 60


def equity(backtest: Backtest) -> go.Figure:
    """Return the growth of 1 invested, by strategy."""
    figure = go.Figure(layout={"title": "Equity after costs", "yaxis_type": "log"})
    for curve in backtest.curves:
        figure.add_scatter(x=curve.days.astype(str), y=curve.equity(), name=curve.name)
    return figure


def drawdown(backtest: Backtest) -> go.Figure:
    """Return the drawdown below the running maximum in percent, by strategy."""
    figure = go.Figure(layout={"title": "Drawdown, %"})
    for curve in backtest.curves:
        figure.add_scatter(
            x=curve.days.astype(str), y=100 * curve.drawdown(), name=curve.name, fill="tozeroy"
        )
    return figure


def rolling_skill(backtest: Backtest, panel: Panel) -> go.Figure:
    """Return the CRPS skill against the rolling Gaussian random walk over the last 60 origins, by horizon."""
    figure = go.Figure(layout={"title": f"CRPS skill over {ROLLING_DAYS} days, %"})
    forecast = backtest.out_of_sample
    for horizon in np.unique(forecast.horizons):
        part = rows(forecast, forecast.horizons == horizon)
        sigma = losses.trailing_volatility(part, panel) * np.sqrt(horizon)
        part = rows(part, sigma > MIN_SIGMA)
        walk = losses.gaussian_crps(sigma[sigma > MIN_SIGMA], part.actual_log_returns)
        days, at = np.unique(part.origins, return_inverse=True)
        ours, theirs = np.bincount(at, weights=losses.crps(part)), np.bincount(at, weights=walk)
        if len(days) < ROLLING_DAYS:
            continue
        kernel = np.ones(ROLLING_DAYS)
        skill = 100 * (1 - np.convolve(ours, kernel, "valid") / np.convolve(theirs, kernel, "valid"))
        figure.add_scatter(x=days[ROLLING_DAYS - 1 :].astype(str), y=skill, name=f"{horizon} d")
    figure.add_hline(y=0, line_dash="dot")
    return figure


def calibration(backtest: Backtest) -> go.Figure:
    """Return the observed against the nominal coverage, by horizon."""
    figure = go.Figure(layout={"title": "Observed coverage by nominal coverage, % (dotted line: equal)"})
    forecast = backtest.out_of_sample
    for horizon in np.unique(forecast.horizons):
        part = rows(forecast, forecast.horizons == horizon)
        figure.add_scatter(
            x=LEVELS, y=[coverage_percent(part, level) for level in LEVELS], name=f"{horizon} d"
        )
    figure.add_scatter(x=LEVELS, y=LEVELS, name="right", line={"dash": "dot"})
    return figure


def decay(backtest: Backtest) -> go.Figure:
    """Return the skill in sample and out of sample, by horizon."""
    table = backtest.decay()
    names = [f"{row['horizon_days']} d" for row in table]
    figure = go.Figure(layout={"title": "CRPS skill in sample and out of sample, %", "barmode": "group"})
    figure.add_bar(x=names, y=[row["in_sample_crps_skill_percent"] for row in table], name="in sample")
    figure.add_bar(
        x=names, y=[row["out_of_sample_crps_skill_percent"] for row in table], name="out of sample"
    )
    return figure
