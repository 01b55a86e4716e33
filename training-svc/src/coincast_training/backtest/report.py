"""Write the HTML report of a backtest: a self-contained page that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from coincast_modelkit.artifact import HorizonRecord
from coincast_modelkit.candles import Panel
from coincast_training.backtest import charts
from coincast_training.backtest.run import Backtest
from coincast_training.pipeline.metrics import measure, rows
from coincast_training.tuning.space import FOLD_NOTES


def write_report(backtest: Backtest, panel: Panel, path: Path) -> None:
    """Write the page, creating its folder if needed."""
    plots = [
        charts.equity(backtest),
        charts.drawdown(backtest),
        charts.rolling_skill(backtest, panel),
        charts.calibration(backtest),
        charts.decay(backtest),
    ]
    environment = Environment(
        loader=PackageLoader("coincast_training.backtest"), autoescape=select_autoescape(["html"])
    )
    page = environment.get_template("report.html").render(
        backtest=backtest,
        note=FOLD_NOTES.get(backtest.options.model, ""),
        by_coin=by_coin(backtest, panel),
        plots=[
            plot.to_html(full_html=False, include_plotlyjs="inline" if number == 0 else False)
            for number, plot in enumerate(plots)
        ],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def by_coin(backtest: Backtest, panel: Panel) -> list[dict[str, Any]]:
    """Return one row for each coin and horizon, with the out-of-sample record."""
    forecast = backtest.out_of_sample
    table: list[dict[str, Any]] = []
    for coin_id in np.unique(forecast.coin_ids):
        record = measure(rows(forecast, forecast.coin_ids == coin_id), panel, measured_at=0.0)
        table.extend(_row(str(coin_id), horizon) for horizon in record.horizons)
    return table


def _row(coin_id: str, horizon: HorizonRecord) -> dict[str, Any]:
    return {"coin": coin_id, "horizon": horizon}
