"""The tables of the commands: whole figures at the width of a narrow terminal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from coincast_modelkit.artifact import HorizonRecord, Record
from coincast_training.backtest.strategy import Curve
from coincast_training.cli.backtest import strategies_table
from coincast_training.cli.train import record_table

NAMES = ("buy and hold", "direction of the median", "long at 30 % volatility")
FIGURES = {
    "total_return_percent": -42.0123,
    "volatility_percent": 181.456,
    "sharpe": -12.345,
    "sortino": None,
    "max_drawdown_percent": -100.0,
    "hit_rate_percent": 51.25,
    "days_in_the_market_percent": 100.0,
    "turnover_a_day_percent": 0.125,
}


def printed(table: Table, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_strategies_are_whole(width: int) -> None:
    returns = np.zeros(3)
    curves = [
        Curve(name=name, days=returns.astype("datetime64[D]"), returns=returns, figures=dict(FIGURES))
        for name in NAMES
    ]
    text = printed(strategies_table(curves), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for figure in ("-42.012", "181.456", "-12.345", "-100.000", "51.250", "0.125"):
        assert text.count(figure) == len(NAMES), figure
    for name in NAMES:
        for word in name.split():
            assert word in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_record_is_whole(width: int) -> None:
    row = HorizonRecord(
        horizon_days=30, forecasts=187_040, mape_percent=13.4155, random_walk_mape_percent=13.4138,
        skill_percent=-10.123, crps_skill_percent=-11.119,
        coverage_80_percent=79.512, coverage_95_percent=94.987,
    )  # fmt: skip
    text = printed(record_table("Out of sample", Record(horizons=(row,))), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for figure in ("187040", "13.415", "13.414", "-10.123", "-11.119", "79.512", "94.987"):
        assert figure in text, text
