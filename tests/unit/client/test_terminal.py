"""The forecast as a chart of characters."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from typing import Any

import pytest
from rich.console import Console

from coincast_client.schemas import (
    Bounds,
    Forecast,
    Point,
    Touch,
    TrainingGetAccuracyResponse,
    UsageReport,
)
from coincast_client.terminal import (
    HEIGHT_ROWS,
    Fan,
    draw_fan,
    show_accuracy,
    show_forecast,
    show_touch,
    show_usage,
)

FAN = Fan(
    closes=[100.0 + day for day in range(60)],
    medians=[159.0] * 7,
    bands=[
        [(150.0 - day, 170.0 + day) for day in range(7)],
        [(155.0 - day, 165.0 + day) for day in range(7)],
    ],
    names=("2026-01-01", "now", "2026-03-08"),
    levels=("95", "80"),
)


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_chart_fits_its_columns_and_the_legend_stands_below_the_data(columns: int) -> None:
    lines = draw_fan(FAN, columns).plain.split("\n")
    assert max(map(len, lines)) <= min(columns, 100)
    assert len(lines) == HEIGHT_ROWS + 2
    assert "• close" in lines[-1]
    assert all("close" not in line for line in lines[:-1])


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_forecast_takes_a_third_of_the_width(columns: int) -> None:
    line = max(draw_fan(FAN, columns).plain.split("\n")[:HEIGHT_ROWS], key=len)
    past, ahead = line.split("│")
    assert len(ahead) / (len(past) + len(ahead)) > 1 / 3


def test_axis_labels_differ() -> None:
    lines = draw_fan(FAN, 80).plain.split("\n")
    labels = [line.split()[0] for line in (lines[0], lines[HEIGHT_ROWS // 2], lines[HEIGHT_ROWS - 1])]
    assert len(set(labels)) == 3


def test_constant_price_is_drawn() -> None:
    flat = Fan([5.0] * 10, [5.0], [[(5.0, 5.0)]], ("a", "now", "b"), ("80",))
    assert "•" in draw_fan(flat, 60).plain


@pytest.mark.parametrize("columns", [60, 80])
def test_usage_names_each_key_its_limit_and_its_days(columns: int) -> None:
    report = UsageReport.model_validate(
        {
            "keys": [
                {
                    "name": "dashboard",
                    "month_calls": 12_345,
                    "month_limit": 100_000,
                    "days": [{"date": "2026-01-02", "calls": 1_200, "rows": 30_000, "bytes": 4_567_000}],
                },
                {"name": "bot", "month_calls": 0, "month_limit": None, "days": []},
            ]
        }
    )
    console = Console(width=columns, record=True, file=io.StringIO())
    show_usage(console, report)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= columns
    for words in (
        "dashboard: 12,345 calls this month",
        "100,000 a month",
        "2026-01-02",
        "1,200",
        "30,000",
        "4,567",
    ):
        assert words in text
    assert "bot: 0 calls this month, no limit" in text


def live_record(hours: int, coverage: float | None, *, origin: int | None, forecasts: int = 40) -> dict:
    horizon = {"horizon_days": 0, "horizon_hours": hours, "forecasts": forecasts, "mase": None,
               "random_walk_mase": None,
               "mape_percent": None, "random_walk_mape_percent": None, "skill_percent": None,
               "crps_skill_percent": None, "coverage_80_percent": coverage, "coverage_95_percent": None,
               "coverage_80_standard_error": None, "independent_periods": None}  # fmt: skip
    return {"model": "intraday", "version": "v000001", "id": "", "variant": "production",
            "horizon": horizon, "origin_hour": origin}  # fmt: skip


def test_accuracy_shows_horizons_in_hours_and_the_hours_of_the_start() -> None:
    reply = TrainingGetAccuracyResponse.model_validate(
        {
            "live": [live_record(6, 79.0, origin=None)],
            "evaluated": [],
            "tests": [],
            "ledger": None,
            # Two versions of one hour are weighted by their forecasts.
            "by_origin_hour": [
                live_record(6, 90.0, origin=9),
                live_record(6, 60.0, origin=9, forecasts=20),
                live_record(24, 81.0, origin=9),
                live_record(6, 70.0, origin=14),
                live_record(24, None, origin=14),
            ],
            "risk": [],
        }
    )
    out = io.StringIO()
    show_accuracy(Console(file=out, width=80), reply)
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["6", "h"] in [line[2:4] for line in lines if line[:1] == ["intraday"]]
    rows = {line[0]: line[1:] for line in lines if line and line[0].endswith(":00")}
    assert rows["09:00"][0].startswith("80")
    assert rows["14:00"][0].startswith("70")
    assert "No served risk answer has been scored yet." in out.getvalue()


def risk_record(
    kind: str, chances: tuple[float, float] | None, level: float | None, **changes: object
) -> dict:
    """A record of served risk answers as the gateway sends it."""
    low, high = chances or (None, None)
    values = {"kind": kind, "horizon_days": 7, "probability_from": low, "probability_to": high,
              "level_percent": level, "statements": 1204, "promised_percent": 80.25,
              "observed_percent": 79.04, "standard_error_percent": 5.12, "independent_periods": 12,
              "brier": None, "brier_skill_percent": None, "loss_over_shortfall": None,
              "from_date": "2026-01-01", "to_date": "2026-03-31", "served_by": ""}  # fmt: skip
    return values | changes


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (risk_record("touch", (0.0, 1.0), None), ["touched", "all", "7", "d", "1,204", "80.2"]),
        (
            risk_record("close_beyond", (0.0, 1.0), None, served_by="technical"),
            ["closed", "beyond", "technical"],
        ),
        (risk_record("exceedance", None, 97.5), ["lost", "more", "than", "the", "97.5", "%", "VaR", "all"]),
        # One tenth of the chances: the whole is shown, the tenths are in the reply.
        (risk_record("touch", (0.2, 0.3), None), []),
    ],
)
def test_accuracy_shows_how_risk_answers_came_true(record: dict, words: list[str]) -> None:
    reply = TrainingGetAccuracyResponse.model_validate(
        {"live": [], "evaluated": [], "tests": [], "ledger": None, "by_origin_hour": [], "risk": [record]}
    )
    out = io.StringIO()
    show_accuracy(Console(file=out, width=100), reply)
    found = [line.split() for line in out.getvalue().splitlines()]
    assert any(line[: len(words)] == words for line in found) if words else "touched" not in out.getvalue()


@pytest.mark.parametrize("sentences", [("On past days.", "Since they were served."), ("", "None so far.")])
def test_a_touch_says_how_such_answers_did_before_and_since_they_were_served(
    sentences: tuple[str, str],
) -> None:
    basis = {
        "model": "lightgbm", "version": "v000001", "served_by": "lightgbm", "degraded": False, "reason": "",
        "as_of": None, "provenance": None, "scenarios": 1000, "first_origin_date": "2022-01-01",
        "last_origin_date": "2024-12-31", "borrowed_ids": [], "record_sentence": sentences[0],
        "live_records": [], "live_sentence": sentences[1], "recorded": True, "as_of_reason": "",
        "reconstructed": False,
    }  # fmt: skip
    day = {"date": "2025-01-02", "horizon_days": 1, "touch_probability": 0.2, "close_beyond_probability": 0.1}
    level = {"price": 105.0, "percent": 5.0, "days": [day]}
    coin = {"id": "bitcoin", "last_price": 100.0, "levels": [level]}
    reply = Touch.model_validate({"basis": basis, "errors": [], "coins": [coin]})
    out = io.StringIO()
    show_touch(Console(file=out, width=200), reply)
    for sentence in filter(None, sentences):
        assert sentence in out.getvalue()


def test_a_touch_of_a_past_moment_says_so() -> None:
    basis = {
        "model": "lightgbm", "version": "v000001", "served_by": "lightgbm", "degraded": False, "reason": "",
        "as_of": "2025-08-16T00:00:00Z", "provenance": None, "scenarios": 1000,
        "first_origin_date": "2022-01-01", "last_origin_date": "2024-12-31", "borrowed_ids": [],
        "record_sentence": "", "live_records": [], "live_sentence": "", "recorded": False,
        "as_of_reason": "", "reconstructed": True,
    }  # fmt: skip
    out = io.StringIO()
    show_touch(
        Console(file=out, width=200), Touch.model_validate({"basis": basis, "errors": [], "coins": []})
    )
    assert "As of 2025-08-16 00:00 UTC, made later from the data known then." in out.getvalue()


@pytest.mark.parametrize("columns", [60, 80])
def test_forecast_of_hours_names_the_time_of_each(columns: int) -> None:
    bounds = {"80": {"lower": 90.0, "upper": 110.0}, "95": {"lower": 80.0, "upper": 120.0}}
    points: list[dict[str, Any]] = [
        {
            "date": date(2026, 1, 2),
            "horizon_hours": hour,
            "closes_at": datetime(2026, 1, 2, 13 + hour, tzinfo=UTC),
            "price": 100.0,
            "intervals": {level: Bounds.model_validate(each) for level, each in bounds.items()},
            "probability_of_rise": 0.5,
        }
        for hour in (1, 2)
    ]
    shown: dict[str, Any] = {
        "id": "bitcoin",
        "vs_currency": "usd",
        "as_of": datetime(2026, 1, 2, 13, tzinfo=UTC),
        "last_price": 100.0,
        "served_by": "intraday",
        "version": "v1",
        "source": "archive",
        "points": [Point.model_construct(**point) for point in points],
        "record": None,
        "degraded": False,
        "stale": False,
        "reconstructed": False,
    }
    forecast = Forecast.model_construct(**shown)
    out = io.StringIO()
    show_forecast(Console(file=out, width=columns), forecast, None)
    assert "2026-01-02 14:00 UTC" in out.getvalue()
    assert "2026-01-02 15:00 UTC" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= columns
