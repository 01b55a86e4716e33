"""Charts of an evaluation: fan charts, calibration, skill by horizon, coverage by regime, equity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from coincast_training.evaluation.metrics.slices import Slice
from coincast_training.evaluation.metrics.summary import curves

Slices = Mapping[tuple[str, int], Slice]
SHOWN = (
    "ml_ensemble",
    "lightgbm",
    "lstm",
    "technical",
    "garch_t_fhs",
    "garch_normal",
    "gaussian_rw_60",
    "har",
)
FAN_DAYS = 365
BANDS = ((95, "rgba(35,110,190,.14)"), (80, "rgba(35,110,190,.22)"), (50, "rgba(35,110,190,.35)"))


def all_figures(found: Mapping[str, Any], slices: Slices) -> dict[str, go.Figure]:
    """Return every chart by its title; charts without data are left out."""
    plots = {
        "Fan chart: forecasts of seven days before": fan(slices, 7),
        "Fan chart: forecasts of thirty days before": fan(slices, 30),
        "Calibration: share of outcomes below each quantile": calibration(found),
        "Skill by horizon: CRPS against the normal GARCH": skill(found),
        "Coverage of the 80 % interval by volatility regime": coverage(found),
        "Equity curves of simple strategies, after 10 basis points per trade": equity_curves(slices),
    }
    return {title: figure for title, figure in plots.items() if figure.data}


def fan(slices: Slices, horizon: int) -> go.Figure:
    """Return the intervals by target day, with the actual price.

    The coin is bitcoin, else the first one; the span is the last year.
    """
    figure = go.Figure()
    model = next((m for m in SHOWN if (m, horizon) in slices and slices[m, horizon].has_distribution), None)
    if model is None:
        return figure
    s = slices[model, horizon]
    coin = "bitcoin" if "bitcoin" in s.rows.coin else str(s.rows.coin[0])
    at = np.flatnonzero(s.rows.coin == coin)[-FAN_DAYS:]
    day = (s.rows.origin[at] + np.timedelta64(horizon, "D")).astype(str).tolist()
    price = s.rows.last_price[at]
    for level, colour in BANDS:
        tail = 0.5 - level / 200
        low, high = (price * np.exp(s.quantile(p)[at]) for p in (tail, 1 - tail))
        edge = {"x": day, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(y=low.tolist(), showlegend=False, **edge)
        figure.add_scatter(y=high.tolist(), fill="tonexty", fillcolor=colour, name=f"{level} %", **edge)
    figure.add_scatter(
        x=day, y=s.outcomes.actual[at].tolist(), name=f"{coin}, outcome", line={"color": "#1d2530"}
    )
    return figure.update_layout(yaxis_title=f"price, {model}")


def calibration(found: Mapping[str, Any]) -> go.Figure:
    """Return the share of outcomes below each quantile; the diagonal is perfect calibration."""
    figure = go.Figure()
    for h, models in found["models"].items():
        for name in SHOWN:
            points = models.get(name, {}).get("distribution", {}).get("calibration")
            if points:
                p = [float(x) for x in points]
                visible = True if name in ("ml_ensemble", "garch_t_fhs") else "legendonly"
                figure.add_scatter(
                    x=p, y=list(points.values()), name=f"{name}, {h} d", mode="lines+markers", visible=visible
                )
    if figure.data:
        figure.add_scatter(x=[0, 1], y=[0, 1], name="perfect", line={"dash": "dot", "color": "#888"})
    return figure.update_layout(xaxis_title="quantile", yaxis_title="share of outcomes below")


def skill(found: Mapping[str, Any]) -> go.Figure:
    """Return the CRPS skill against normal GARCH(1,1) by horizon, with its bootstrap interval."""
    figure = go.Figure()
    for name in SHOWN:
        entries = {
            h: by.get(name, {}).get("garch_normal", {}).get("distribution")
            for h, by in found["against"].items()
        }
        known = {h: e for h, e in entries.items() if e}
        if known:
            y = [e["skill_percent"] for e in known.values()]
            up = [e["interval"][1] - e["skill_percent"] for e in known.values()]
            down = [e["skill_percent"] - e["interval"][0] for e in known.values()]
            bars = {"type": "data", "array": up, "arrayminus": down}
            figure.add_scatter(
                x=[f"{h} d" for h in known], y=y, error_y=bars, name=name, mode="lines+markers"
            )
    return figure.update_layout(yaxis_title="CRPS skill, %")


def coverage(found: Mapping[str, Any]) -> go.Figure:
    """Return the coverage of the 80 % interval on calm, usual and wild days, with two standard errors."""
    figure = go.Figure()
    for name in ("ml_ensemble", "garch_t_fhs", "technical"):
        x, y, error = [], [], []
        for h, models in found["models"].items():
            parts = models.get(name, {}).get("distribution", {}).get("coverage_80_by_tercile", {})
            for tercile, part in parts.items():
                x.append(f"{h} d {tercile}")
                y.append(part["coverage_percent"])
                error.append(2 * part["standard_error"])
        if x:
            figure.add_scatter(x=x, y=y, error_y={"type": "data", "array": error}, name=name, mode="markers")
    if figure.data:
        figure.add_hline(y=80, line_dash="dot")
    return figure.update_layout(yaxis_title="covered, %")


def equity_curves(slices: Slices) -> go.Figure:
    """Return the growth of one unit of money in each strategy."""
    figure = go.Figure()
    for name, daily in curves(slices).items():
        growth = np.cumprod(1 + daily.returns)
        visible = True if name in ("hold", "sized by ml_ensemble", "signed by reversal") else "legendonly"
        figure.add_scatter(x=daily.days.astype(str).tolist(), y=growth.tolist(), name=name, visible=visible)
    return figure.update_layout(yaxis_title="growth of one", yaxis_type="log")
