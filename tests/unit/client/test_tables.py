"""Replies as flat rows and as pictures: every point, with the bounds of its intervals."""

from __future__ import annotations

from typing import Any, TypeVar

import matplotlib as mpl
import pytest
from pydantic import BaseModel

from coincast_client.plots import draw
from coincast_client.schemas import (
    Bounds,
    Candle,
    Coin,
    CoinPaths,
    Explanation,
    Forecast,
    ForecastCoinTouch,
    ForecastInterval,
    ForecastLevelTouch,
    ForecastLog,
    ForecastQuantile,
    Forecasts,
    ForecastTouchDay,
    History,
    Models,
    Point,
    Portfolio,
    Scenarios,
    Touch,
    TrainingGetAccuracyResponse,
    TrainingGetJobLogsResponse,
    TrainingGetJobResponse,
    TrainingJob,
    TrainingListJobsResponse,
    TrainingLoggedForecast,
    TrainingTrainingSpec,
    Trends,
    UsageReport,
    Volatility,
)
from coincast_client.tables import interval_levels, rows_of
from tests.unit.client import fake_gateway as gw

mpl.use("agg")


Built = TypeVar("Built", bound=BaseModel)


def build(model: type[Built], /, **values: Any) -> Built:
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


@pytest.mark.slow
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


SCENARIOS = build(
    Scenarios,
    dates=["2026-01-02", "2026-01-03"],
    origin_dates=["2022-05-01", "2023-05-01"],
    coins=[
        build(
            CoinPaths,
            id="bitcoin",
            closes=[[10.0, 11.0], [9.0, 8.0]],
            highs=[[10.5, 11.5], [9.5, 9.0]],
            lows=[[9.5, 10.0], [8.5, 7.5]],
        )
    ],
    errors=[],
)
TOUCH = build(
    Touch,
    coins=[
        build(
            ForecastCoinTouch,
            id="bitcoin",
            levels=[
                build(
                    ForecastLevelTouch,
                    price=105.0,
                    percent=5.0,
                    days=[
                        build(ForecastTouchDay, date=f"2026-01-0{day}", touch_probability=day / 10)
                        for day in (1, 2)
                    ],
                )
            ],
        )
    ],
    errors=[],
)


def test_each_day_of_each_path_is_a_row() -> None:
    rows = rows_of(SCENARIOS)
    assert [(row["path"], row["origin_date"], row["date"], row["close"], row["low"]) for row in rows] == [
        (1, "2022-05-01", "2026-01-02", 10.0, 9.5),
        (1, "2022-05-01", "2026-01-03", 11.0, 10.0),
        (2, "2023-05-01", "2026-01-02", 9.0, 8.5),
        (2, "2023-05-01", "2026-01-03", 8.0, 7.5),
    ]


def test_scenarios_and_touches_are_drawn_as_lines() -> None:
    assert [list(line.get_ydata()) for line in draw(SCENARIOS).get_lines()] == [[10.0, 11.0], [9.0, 8.0]]
    (line,) = draw(TOUCH).get_lines()
    assert (list(line.get_ydata()), line.get_label()) == ([0.1, 0.2], "105.00")


def test_nested_fields_are_columns_and_lists_of_names_are_joined() -> None:
    spec = build(TrainingTrainingSpec, model="lightgbm", ids=["bitcoin", "ethereum"], days=90)
    job = build(TrainingJob, job_id="j1", state="done", spec=spec)
    for reply in (build(TrainingGetJobResponse, job=job), build(TrainingListJobsResponse, jobs=[job])):
        (row,) = rows_of(reply)
        assert (row["job_id"], row["model"], row["ids"]) == ("j1", "lightgbm", "bitcoin, ethereum")


def test_each_line_of_a_log_is_a_row() -> None:
    assert rows_of(build(TrainingGetJobLogsResponse, lines=["one", "two"])) == [
        {"line": "one"},
        {"line": "two"},
    ]


def test_each_horizon_of_a_model_is_a_row_and_a_model_without_a_record_is_one() -> None:
    rows = [gw.model("lightgbm", gw.horizon(1), gw.horizon(7, 78.0)), gw.model("lstm", ready=False)]
    found = rows_of(Models.model_validate({"models": rows}))
    assert [(row["model"], row["ready"], row.get("horizon_days")) for row in found] == [
        ("lightgbm", True, 1),
        ("lightgbm", True, 7),
        ("lstm", False, None),
    ]
    assert found[1]["coverage_80_percent"] == 78.0


def test_each_contribution_to_a_forecast_is_a_row() -> None:
    part = {"feature": "return_1", "value": 0.1, "contribution": -0.2, "output": "mean", "horizon_days": 1}
    document = {"forecast": gw.forecast(attributions=[part]), "kind": "shap"}
    assert rows_of(Explanation.model_validate(document)) == [
        {"id": "bitcoin", "served_by": "lightgbm", **part}
    ]


def test_each_horizon_of_served_forecasts_is_a_row() -> None:
    bare = gw.live(1, horizon=None, model="lstm")
    found = rows_of(TrainingGetAccuracyResponse.model_validate(gw.accuracy(gw.live(7), bare)))
    assert [(row["model"], row.get("horizon_days")) for row in found] == [("lightgbm", 7), ("lstm", None)]


def test_each_level_of_a_risk_is_a_row() -> None:
    reply = Portfolio.model_validate(gw.portfolio(gw.risk_level(90), gw.risk_level(99)))
    assert [(row["level_percent"], row["value_at_risk"]) for row in rows_of(reply)] == [
        (90.0, 900.0),
        (99.0, 990.0),
    ]


def test_each_day_of_each_key_is_a_row() -> None:
    (row,) = rows_of(UsageReport.model_validate(gw.usage()))
    assert (row["name"], row["calls"], row["bytes"]) == ("bot", 1_200, 4_567_000)


def test_each_moment_of_the_trends_is_a_row_with_its_sample_if_there_is_one() -> None:
    names = (
        "requests_per_second", "server_error_share", "hot_hit_rate", "cpu_percent", "memory_mb", "p50_ms",
        "p95_ms", "p99_ms",
    )  # fmt: skip
    at = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]
    sample = dict.fromkeys(names, 1.5) | {"at": at[1], "samples": 3, "statuses": {"gateway": "ok"}}
    points = [{"at": at[0], "sample": None}, {"at": at[1], "sample": sample}]
    document = {"hours": 1.0, "step_seconds": 60, "points": points, "gaps": []}
    found = rows_of(Trends.model_validate(document))
    assert [row.get("p95_ms") for row in found] == [None, 1.5]
    assert [row["at"].isoformat() for row in found] == [
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:01:00+00:00",
    ]
    assert rows_of(Trends.model_validate(document | {"points": []})) == []


def test_each_served_forecast_is_a_row_with_the_bounds_of_its_intervals() -> None:
    logged = build(
        TrainingLoggedForecast,
        id="bitcoin",
        intervals=[build(ForecastInterval, level_percent=97.5, lower=1.0, upper=3.0)],
        quantiles=[build(ForecastQuantile, probability=0.25, price=1.5)],
    )
    (row,) = rows_of(build(ForecastLog, forecasts=[logged]))
    assert (row["id"], row["lower_97.5"], row["upper_97.5"], row["quantile_0.25"]) == (
        "bitcoin",
        1.0,
        3.0,
        1.5,
    )


def test_drawing_a_reply_passes_its_options_on() -> None:
    axes = forecast("bitcoin").plot(figsize=(3, 2))
    assert list(axes.get_figure().get_size_inches()) == [3, 2]
    assert axes.get_title().startswith("bitcoin: lightgbm")
