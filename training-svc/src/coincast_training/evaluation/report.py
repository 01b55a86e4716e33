"""Write evaluation.html: one self-contained page of figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from coincast_training.evaluation import charts
from coincast_training.evaluation.metrics.slices import Slice

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#1d2530}
table{border-collapse:collapse;margin:1em 0;font-size:14px}
td,th{padding:.25em .7em;border-bottom:1px solid #dde3ea;text-align:right}
td:first-child,th:first-child{text-align:left}.bad{color:#b3261e;font-weight:600}.good{color:#1b7f4b}
"""


def write_html(found: Mapping[str, Any], slices: Mapping[tuple[str, int], Slice], path: Path) -> None:
    """Write the tables of the acceptance criteria and of every model, then the charts.

    The page includes the script of plotly, so that it opens without a network.
    """
    plots = charts.all_figures(found, slices)
    about = found["about"]
    body = [
        "<h1>Walk-forward evaluation</h1>",
        f"<p>{len(about['coins'])} coins, origins {about['first_origin']} to {about['last_origin']}, "
        f"seed {about['seed']}. {escape(about['protocol'])}</p>",
        *(f"<p>Note: {escape(note)}</p>" for note in about["notes"]),
        "<h2>Acceptance criteria</h2>",
        _goals(found["goals"]),
        *(_models(h, models) for h, models in found["models"].items()),
        _strategies(found["strategies"]),
        *_figures(plots),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation</title><style>{STYLE}</style>"
    path.write_text(page + "\n".join(body) + "</html>\n", encoding="utf-8")


def _figures(plots: Mapping[str, go.Figure]) -> list[str]:
    out = []
    for i, (title, figure) in enumerate(plots.items()):
        figure.update_layout(template="plotly_white", height=430, margin={"t": 30})
        out.append(f"<h2>{escape(title)}</h2>")
        out.append(pio.to_html(figure, full_html=False, include_plotlyjs=i == 0, div_id=f"figure-{i}"))
    return out


def _goals(entries: list[dict[str, Any]]) -> str:
    rows = []
    for goal in entries:
        if goal["value"] is None:
            continue
        kind = {True: "good", False: "bad", None: ""}[goal["holds"]]
        result = {True: "holds", False: "misses", None: ""}[goal["holds"]]
        result += "; reaches the target" if goal["reaches_aim"] else ""
        aim = "" if goal["aim"] is None else f"{goal['aim']:.3f}"
        sign = "at most" if goal["below"] else "at least"
        cells = (
            f"{goal['value']:.3f}",
            "" if goal["must"] is None else f"{sign} {goal['must']:.3f}",
            aim,
            f"<span class='{kind}'>{result}</span>",
        )
        rows.append(f"<tr><td>{escape(goal['name'])}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>")
    head = "<tr><th>figure</th><th>measured</th><th>bound</th><th>target</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _models(horizon: str, models: Mapping[str, Any]) -> str:
    head = (
        "model",
        "forecasts",
        "MAPE %",
        "MASE",
        "CRPS %",
        "Winkler 80 %",
        "covers 80 %",
        "covers 95 %",
        "QLIKE",
    )
    rows = []
    for name, m in sorted(models.items(), key=lambda item: _order(item[1])):
        d, v = m.get("distribution", {}), m.get("volatility", {})
        covers = d.get("coverage_percent", {})
        values = (
            m["point"]["mape_percent"],
            m["point"]["mase"],
            d.get("crps_percent"),
            d.get("winkler_80_percent"),
            covers.get("80"),
            covers.get("95"),
            v.get("qlike"),
        )
        cells = "".join(f"<td>{'' if x is None else f'{x:.3f}'}</td>" for x in values)
        rows.append(f"<tr><td>{escape(name)}</td><td>{m['point']['forecasts']}</td>{cells}</tr>")
    header = "".join(f"<th>{h}</th>" for h in head)
    return f"<h2>Horizon {horizon} d</h2><table><tr>{header}</tr>{''.join(rows)}</table>"


def _strategies(strategies: Mapping[str, Any]) -> str:
    names = ("sharpe", "sortino", "max_drawdown_percent", "hit_rate_percent", "annual_return_percent")
    head = "".join(f"<th>{name.replace('_', ' ').replace(' percent', ' %')}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{s[n]:.2f}</td>' for n in names)}</tr>"
        for name, s in strategies.items()
    )
    title = "Strategies at one day, after costs"
    return f"<h2>{title}</h2><table><tr><th>strategy</th>{head}</tr>{rows}</table>" if rows else ""


def _order(model: Mapping[str, Any]) -> tuple[float, float]:
    crps = model.get("distribution", {}).get("crps_percent")
    return (float("inf") if crps is None else crps, model["point"]["mape_percent"])
