"""Replies as flat rows and as pictures: every point, with the bounds of its intervals."""

from __future__ import annotations

from typing import Any, TypeVar

import matplotlib as mpl
import pytest
from pydantic import BaseModel

from coincast_client.plots import draw
from coincast_client.schemas import Bounds, Candle, Coin, Forecast, Forecasts, History, Point, Volatility
from coincast_client.tables import interval_levels, rows_of

mpl.use("agg")


Built = TypeVar("Built", bound=BaseModel)


def build(model: type[Built], **values: Any) -> Built:
    """A reply with these fields, and None in all others."""
    return model.model_construct(None, **(dict.fromkeys(model.model_fields) | values))


def forecast(coin: str) -> Forecast:
    """A forecast of two days with two intervals."""
    points = [
        build(
            Point,
            date=f"2026-01-0{day}",
            horizon_days=day,
            price=100.0 + day,
            intervals={
                "95": build(Bounds, lower=80.0 - day, upper=120.0 + day),
                "80": build(Bounds, lower=90.0 - day, upper=110.0 + day),
            },
            quantiles={"0.1": 91.0},
            volatility=build(Volatility, annualised_percent=50.0),
        )
        for day in (1, 2)
    ]
    return build(Forecast, id=coin, vs_currency="usd", last_price=100.0, served_by="lightgbm", points=points)


def forecasts(*coins: str) -> Forecasts:
    """Forecasts of several coins."""
    return build(Forecasts, forecasts=[forecast(coin) for coin in coins], errors=[])


HISTORY = build(
    History,
    id="bitcoin",
    vs_currency="usd",
    source="archive",
    missing_dates=["2026-01-02"],
    candles=[build(Candle, date="2026-01-01", close=10.0), build(Candle, date="2026-01-03", close=12.0)],
)


def test_each_point_of_each_forecast_is_a_row_with_the_bounds_of_its_intervals() -> None:
    rows = rows_of(forecasts("bitcoin", "ethereum"))
    assert [(row["id"], row["date"]) for row in rows] == [
        ("bitcoin", "2026-01-01"),
        ("bitcoin", "2026-01-02"),
        ("ethereum", "2026-01-01"),
        ("ethereum", "2026-01-02"),
    ]
    second = rows[1]
    assert (second["lower_80"], second["upper_80"]) == (88.0, 112.0)
    assert (second["lower_95"], second["upper_95"]) == (78.0, 122.0)
    assert (second["quantile_0.1"], second["volatility_percent"]) == (91.0, 50.0)


def test_each_candle_is_a_row_with_the_coin_and_the_source() -> None:
    rows = rows_of(HISTORY)
    assert [(row["id"], row["source"], row["date"], row["close"]) for row in rows] == [
        ("bitcoin", "archive", "2026-01-01", 10.0),
        ("bitcoin", "archive", "2026-01-03", 12.0),
    ]


def test_levels_are_ordered_by_their_number() -> None:
    assert interval_levels({"95": None, "9": None, "80": None}) == ["9", "80", "95"]


def test_a_forecast_is_drawn_as_a_fan_with_the_median_inside_both_intervals() -> None:
    axes = draw(forecasts("bitcoin"))
    (median,) = axes.get_lines()
    assert list(median.get_ydata()) == [101.0, 102.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["95 %", "80 %", "median"]


def test_each_of_several_forecasts_has_axes_of_its_own() -> None:
    assert [axes.get_title()[:8] for axes in draw(forecasts("bitcoin", "ethereum"))] == [
        "bitcoin:",
        "ethereum",
    ]


def test_a_history_is_drawn_as_a_line_of_closes() -> None:
    (line,) = draw(HISTORY).get_lines()
    assert list(line.get_ydata()) == [10.0, 12.0]


def test_a_reply_without_a_picture_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="no picture for Coin; use to_pandas"):
        draw(build(Coin, id="bitcoin"))
